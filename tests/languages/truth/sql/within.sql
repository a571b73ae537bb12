-- A comment within a statement.
SELECT
  a, -- the first
  -- the second
  b
FROM t;
