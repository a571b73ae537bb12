-- Users.
CREATE TABLE `users` (
  `id` INT NOT NULL AUTO_INCREMENT, # the key
  `name` VARCHAR(20) DEFAULT 'it\'s; x',
  PRIMARY KEY (`id`)
) ENGINE=InnoDB;

DELIMITER //
-- Doubles.
CREATE DEFINER=`root`@`localhost` PROCEDURE twice(IN a INT, OUT b INT)
BEGIN
  DECLARE x INT DEFAULT 0;
  IF a > 0 THEN
    SET b = a * 2;
  END IF;
END //

-- Counts.
CREATE FUNCTION counts() RETURNS INT DETERMINISTIC
BEGIN
  RETURN 1;
END//
DELIMITER ;

-- After it.
SELECT 1;
