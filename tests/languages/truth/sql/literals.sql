-- A semicolon in a string.
SELECT 'a;b' AS x, "c;d" FROM t;

-- A comment in a string.
SELECT '-- no comment' FROM t;
