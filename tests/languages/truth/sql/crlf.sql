-- Windows.
-- Two.
SELECT 1
FROM t;
