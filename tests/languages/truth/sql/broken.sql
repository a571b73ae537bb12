-- Whole.
SELECT 1;

-- A bracket is open.
SELECT (1;

-- Whole, too.
SELECT 3;

-- A string is open.
SELECT 'a;
