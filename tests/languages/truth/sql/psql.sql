\set ON_ERROR_STOP on

-- Loads.
COPY users (id, name) FROM stdin;
1	a; b
2	it's
\.

-- After it.
SELECT 1;

-- With a command of psql.
SELECT 2 \gset

-- The function's body is standard SQL.
CREATE FUNCTION f(x int) RETURNS int
BEGIN ATOMIC
  SELECT CASE WHEN x > 1 THEN 1 ELSE 2 END;
  SELECT 3;
END;

-- A block.
DO $$
BEGIN
  RAISE NOTICE 'a;b';
END
$$;
