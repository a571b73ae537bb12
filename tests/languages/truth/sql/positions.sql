-- Far away.

SELECT 1;

SELECT 2; -- Behind code.
SELECT 3;

/*
 * In a block
 * of lines.
 */
SELECT 4;

-- First of two.
-- Second of two.
SELECT 5;

-- Above a blank line.

-- Right above.
SELECT 6;
