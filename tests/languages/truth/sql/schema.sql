-- The users
-- of the site.
CREATE TABLE users (
  id INT PRIMARY KEY, -- the key
  name TEXT NOT NULL
);

-- By name.
CREATE INDEX users_name ON users (name);

-- The names.
CREATE VIEW names AS SELECT name FROM users;

-- One more column.
ALTER TABLE users ADD COLUMN age INT;

-- No longer needed.
DROP TABLE IF EXISTS old;
