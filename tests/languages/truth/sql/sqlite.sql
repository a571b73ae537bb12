-- Keeps the time.
CREATE TRIGGER touch AFTER UPDATE ON users
BEGIN
  UPDATE users SET changed = 1 WHERE id = new.id;
  UPDATE users SET times = CASE WHEN times THEN 2 ELSE 1 END;
END;

-- One word.
VACUUM;
