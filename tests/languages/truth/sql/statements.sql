-- All users.
SELECT * FROM users;

/* Adds one. */
INSERT INTO users (id, name) VALUES (1, 'a');

-- Renames.
UPDATE users SET name = 'b' WHERE id = 1;

-- Removes.
DELETE FROM users WHERE id = 1;

-- With a table expression.
WITH recent AS (
  SELECT id FROM users
)
SELECT * FROM recent;

-- Without a semicolon.
SELECT 1
