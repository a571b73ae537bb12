-- Adds.
CREATE OR REPLACE FUNCTION add_it(a IN NUMBER) RETURN NUMBER IS
  total NUMBER := 0;
BEGIN
  FOR i IN 1 .. a LOOP
    total := total + i;
  END LOOP;
  RETURN total;
END add_it;
/

-- Anonymous.
DECLARE
  x NUMBER;
BEGIN
  x := 1;
END;
/
