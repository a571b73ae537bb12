-- Adds two numbers.
CREATE OR REPLACE FUNCTION add(a int, b int) RETURNS int AS $$
  SELECT a + b;
$$ LANGUAGE sql;

-- Doubles.
CREATE FUNCTION double(a integer)
RETURNS integer
LANGUAGE plpgsql
AS $body$
BEGIN
  -- a comment of the body
  RETURN a * 2;
END;
$body$;
