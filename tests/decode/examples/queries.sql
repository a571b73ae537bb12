SELECT count(*) FROM singer

SELECT name, country, age FROM singer ORDER BY age DESC

SELECT avg(age), min(age), max(age) FROM singer WHERE country = 'France'

SELECT DISTINCT country FROM singer WHERE age > 20

SELECT country, count(*) FROM singer GROUP BY country

SELECT song_name FROM singer WHERE age > (SELECT avg(age) FROM singer)

SELECT LOCATION, name FROM stadium WHERE capacity BETWEEN 5000 AND 10000

select max(capacity), average from stadium

SELECT T2.name, count(*) FROM concert AS T1 JOIN stadium AS T2 ON T1.stadium_id = T2.stadium_id GROUP BY T1.stadium_id

SELECT T2.name, T2.capacity FROM concert AS T1 JOIN stadium AS T2 ON T1.stadium_id = T2.stadium_id WHERE T1.year >= 2014 GROUP BY T2.stadium_id ORDER BY count(*) DESC LIMIT 1

SELECT name FROM stadium WHERE stadium_id NOT IN (SELECT stadium_id FROM concert)

SELECT country FROM singer WHERE age > 40 INTERSECT SELECT country FROM singer WHERE age < 30

SELECT name FROM stadium EXCEPT SELECT T2.name FROM concert AS T1 JOIN stadium AS T2 ON T1.stadium_id = T2.stadium_id WHERE T1.year = 2014

SELECT name, country FROM singer WHERE song_name LIKE '%Hey%'

SELECT T2.concert_name, T2.theme, count(*) FROM singer_in_concert AS T1 JOIN concert AS T2 ON T1.concert_id = T2.concert_id GROUP BY T2.concert_id

SELECT fname FROM student WHERE stuid IN (SELECT T1.stuid FROM has_pet AS T1 JOIN pets AS T2 ON T1.petid = T2.petid WHERE T2.pettype = 'cat' INTERSECT SELECT T1.stuid FROM has_pet AS T1 JOIN pets AS T2 ON T1.petid = T2.petid WHERE T2.pettype = 'dog')

SELECT sum(weight) AS total_weight, pettype FROM pets GROUP BY pettype HAVING count(*) > 1 ORDER BY total_weight

SELECT DISTINCT T1.fname, T1.age FROM student AS T1 JOIN has_pet AS T2 ON T1.stuid = T2.stuid

SELECT T1.ContName, count(*) FROM continents AS T1 JOIN countries AS T2 ON T1.ContId = T2.Continent GROUP BY T1.ContId;

SELECT Maker, Model FROM MODEL_LIST WHERE Maker != 1 OR Maker <> 2

SELECT T1.accelerate FROM CARS_DATA AS T1 JOIN CAR_NAMES AS T2 ON T1.id = T2.makeid WHERE T2.make = 'amc hornet sportabout (sw)'

SELECT count(DISTINCT T2.model), T1.fullname FROM car_makers AS T1 JOIN model_list AS T2 ON T1.id = T2.maker GROUP BY T1.id HAVING count(*) >= 2

SELECT avg(weight), year FROM cars_data GROUP BY year

SELECT T1.countryname FROM countries AS T1 JOIN continents AS T2 ON T1.continent = T2.contid JOIN car_makers AS T3 ON T1.countryid = T3.country WHERE T2.continent = 'europe' GROUP BY T1.countryname HAVING count(*) >= 3

SELECT Airline, Abbreviation FROM airlines WHERE Country = "USA"

SELECT count(*) FROM flights WHERE sourceairport = 'APG' OR destairport = 'APG'

SELECT first_name, last_name FROM employees WHERE hire_date > '2019-01-01' AND salary * 12 > 100000

SELECT e.first_name, m.last_name manager FROM employees e LEFT JOIN employees m ON e.manager_id = m.id

SELECT e.name, d.name AS department FROM employees e INNER JOIN departments d USING (department_id)

SELECT * FROM orders o JOIN customers c ON o.customer_id = c.id AND c.active = 1 LEFT OUTER JOIN payments p ON p.order_id = o.id WHERE p.id IS NULL

SELECT * FROM a CROSS JOIN b

SELECT * FROM a NATURAL JOIN b

SELECT * FROM a, b AS c, (SELECT 1 AS one) d WHERE a.id = c.id

SELECT t.*, u.id FROM t, u

SELECT city.city_name FROM city WHERE city.population = (SELECT max(CITYalias1.population) FROM city AS CITYalias1 WHERE CITYalias1.state_name = 'texas') AND city.state_name = 'texas'

SELECT STATEalias0.CAPITAL FROM STATE AS STATEalias0 WHERE STATEalias0.STATE_NAME = 'ohio' ;

SELECT DISTINCT RIVERalias0.RIVER_NAME FROM RIVER AS RIVERalias0 WHERE RIVERalias0.LENGTH > 750 AND RIVERalias0.TRAVERSE = 'missouri'

SELECT count(border_info.border) FROM border_info WHERE border_info.state_name NOT IN (SELECT lake.state_name FROM lake)

SELECT state_name FROM state WHERE area = (SELECT min(area) FROM state WHERE state_name IN (SELECT border FROM border_info WHERE state_name = 'kansas'))

SELECT "Player" FROM table_1 WHERE "School/Club Team" = 'Butler CC (KS)'

SELECT COUNT("Position") FROM "1-10015132-1" WHERE "Years in Toronto" = '2006-07'

SELECT col0, MAX(col3) FROM table_2_123 WHERE col1 = 'a' AND col2 > 5.5

SELECT [Order Date], `ship city` FROM [Order Details] WHERE [Order Date] >= date('now', '-1 month')

SELECT CASE WHEN age < 18 THEN 'minor' WHEN age < 65 THEN 'adult' ELSE 'senior' END AS bracket, COUNT(*) AS n FROM people GROUP BY bracket

SELECT CASE status WHEN 1 THEN 'open' WHEN 2 THEN 'closed' END FROM tickets

SELECT SUM(CASE WHEN gender = 'M' THEN 1 ELSE 0 END) * 100.0 / COUNT(*) FROM patients

SELECT CAST(SUM(won) AS REAL) * 100 / COUNT(id) FROM games WHERE season = '2015/16'

SELECT CAST(price AS INTEGER), CAST(x AS DECIMAL(10, 2)), CAST(y AS VARCHAR(20)) FROM items

SELECT STRFTIME('%Y', birthday) AS y, COUNT(*) FROM patient GROUP BY y ORDER BY y ASC LIMIT 5 OFFSET 10

SELECT SUBSTR(name, 1, 3), UPPER(name) || '-' || LOWER(code), LENGTH(TRIM(name)) FROM products

SELECT COALESCE(nickname, first_name, 'n/a'), IFNULL(age, 0), NULLIF(a, b), IIF(a > b, a, b) FROM users

SELECT ROUND(AVG(score), 2), ABS(MIN(delta)), REPLACE(phone, '-', '') FROM results

SELECT GROUP_CONCAT(name, ', ') FROM tags GROUP BY post_id

SELECT group_concat(DISTINCT tag) FROM tags

SELECT ROW_NUMBER() OVER (PARTITION BY department ORDER BY salary DESC) AS rank_in_department, name FROM employees

SELECT name, RANK() OVER (ORDER BY score DESC), DENSE_RANK() OVER (ORDER BY score DESC) FROM players

SELECT day, SUM(amount) OVER (ORDER BY day ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) AS weekly FROM sales

SELECT day, LAG(amount) OVER (ORDER BY day), LEAD(amount, 1, 0) OVER (PARTITION BY shop ORDER BY day) FROM sales

SELECT NTILE(4) OVER (ORDER BY x), FIRST_VALUE(x) OVER (PARTITION BY y ORDER BY z ROWS UNBOUNDED PRECEDING) FROM t

SELECT COUNT(*) OVER (), AVG(x) OVER (PARTITION BY a, b) FROM t

SELECT COUNT(*) FILTER (WHERE a > 1), SUM(b) FILTER (WHERE c IS NOT NULL) FROM t

WITH recent AS (SELECT * FROM orders WHERE placed > '2020-01-01') SELECT customer_id, COUNT(*) FROM recent GROUP BY customer_id

WITH a AS (SELECT 1 AS x), b(y) AS (SELECT x + 1 FROM a) SELECT a.x, b.y FROM a JOIN b ON a.x < b.y

WITH RECURSIVE cnt(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM cnt WHERE x < 10) SELECT x FROM cnt

WITH RECURSIVE tree AS (SELECT id, parent_id, 0 AS depth FROM nodes WHERE parent_id IS NULL UNION ALL SELECT n.id, n.parent_id, t.depth + 1 FROM nodes n JOIN tree t ON n.parent_id = t.id) SELECT * FROM tree ORDER BY depth, id

SELECT name FROM a UNION SELECT name FROM b UNION ALL SELECT name FROM c ORDER BY name LIMIT 10

SELECT * FROM (SELECT name, MAX(score) AS best FROM results GROUP BY name) AS r WHERE r.best > 90

SELECT * FROM (SELECT a FROM t) WHERE a = 1

SELECT name FROM employees e WHERE EXISTS (SELECT 1 FROM projects p WHERE p.lead_id = e.id) AND NOT EXISTS (SELECT 1 FROM leaves l WHERE l.employee_id = e.id)

SELECT a FROM t WHERE b IS NULL AND c IS NOT NULL OR NOT (d = 1 AND e = 'x')

SELECT a FROM t WHERE (a, b) IN (SELECT c, d FROM u)

SELECT a FROM t WHERE a IN (1, 2, 3) AND b NOT IN ('x', 'y') AND c NOT LIKE 'z_%' ESCAPE '\'

SELECT a FROM t WHERE a NOT BETWEEN 1 AND 5 AND b GLOB '*x*'

SELECT -a, +b, ~c, a % 2, a << 1, a & b | c, a || b FROM t

SELECT 1 + 2 * 3 - 4 / 5, (1 + 2) * 3, -1, .5, 1e10, 2.5E-3

SELECT 'it''s', "say ""hi""", x'4142', NULL, TRUE, FALSE, CURRENT_DATE, CURRENT_TIMESTAMP

SELECT data ->> '$.name', data -> 'list', json_extract(data, '$.a.b') FROM docs

SELECT julianday('now') - julianday(birth) AS days, datetime('now', 'localtime'), date(ts, 'unixepoch'), time('12:00') FROM people

SELECT name FROM users WHERE id = ? AND email = :email

SELECT MAX(a, b), MIN(a, b, c) FROM t

SELECT random(), typeof(a), hex(b), instr(c, 'x'), printf('%05d', d) FROM t ORDER BY random() LIMIT 1

SELECT name FROM t ORDER BY a IS NULL, b ASC NULLS LAST, LENGTH(c) DESC

SELECT name FROM t ORDER BY 2, 1 DESC LIMIT 5, 10

SELECT department_id, AVG(salary) FROM employees WHERE salary > 1000 GROUP BY department_id, job_id HAVING AVG(salary) > 5000 AND COUNT(*) > 3

SELECT ALL a FROM t

SELECT a.b.c FROM a.b

SELECT main.users.id FROM main.users

SELECT (SELECT COUNT(*) FROM b WHERE b.a_id = a.id) AS n, a.* FROM a

SELECT (a > b) AS bigger, a = b, a <> b AND c >= d FROM t

SELECT date, year, month, key, type, value, status, level, "order" FROM log WHERE type = 'x'

SELECT name, text, data, position, rank, user, role, title, text AS t FROM comments

SELECT T1.date, T1.result FROM battle AS T1 JOIN ship AS T2 ON T1.id = T2.lost_in_battle WHERE T2.name = 'Lettice' AND T1.name = 'HMS Atalanta'

SELECT count(*), sum(a.b), avg(DISTINCT c) FROM d a

SELECT
  name,
  count(*) AS n
FROM users
WHERE active = 1
  AND created >= '2024-01-01'
GROUP BY name
ORDER BY n DESC
LIMIT 10;

INSERT INTO users (name, email, age) VALUES ('Ann', 'ann@example.com', 30)

INSERT INTO users VALUES (1, 'a', NULL), (2, 'b', 3.5)

INSERT INTO archive SELECT * FROM orders WHERE placed < '2010-01-01'

INSERT INTO archive (id, total) SELECT id, SUM(price) FROM orders GROUP BY id

INSERT OR REPLACE INTO settings (key, value) VALUES ('theme', 'dark')

INSERT OR IGNORE INTO tags (name) VALUES ('x')

INSERT INTO counts (word, n) VALUES ('a', 1) ON CONFLICT (word) DO UPDATE SET n = n + 1

INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING

INSERT INTO t DEFAULT VALUES

REPLACE INTO t (id, x) VALUES (1, 2)

INSERT INTO t (a, b) VALUES (?, ?) RETURNING id

UPDATE users SET name = 'Bob', age = age + 1 WHERE id = 5

UPDATE products SET price = price * 1.1

UPDATE t SET a = (SELECT MAX(b) FROM u WHERE u.id = t.id) WHERE c IN (1, 2)

UPDATE inventory SET quantity = quantity - d.n FROM (SELECT item_id, COUNT(*) AS n FROM sales GROUP BY item_id) AS d WHERE inventory.id = d.item_id

UPDATE t SET a = CASE WHEN b > 0 THEN 1 ELSE NULL END, c = NULL

DELETE FROM users WHERE last_login < date('now', '-1 year')

DELETE FROM t

DELETE FROM t WHERE id NOT IN (SELECT MIN(id) FROM t GROUP BY email)

CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, email VARCHAR(255) UNIQUE, created TIMESTAMP DEFAULT CURRENT_TIMESTAMP)

CREATE TABLE IF NOT EXISTS orders (id INTEGER, user_id INTEGER REFERENCES users (id) ON DELETE CASCADE, total DECIMAL(10,2) CHECK (total >= 0), PRIMARY KEY (id), FOREIGN KEY (user_id) REFERENCES users (id))

CREATE TABLE t (a, b, c)

CREATE TABLE "my table" ("first name" TEXT COLLATE NOCASE, n INT DEFAULT -1, CONSTRAINT pk PRIMARY KEY ("first name"), UNIQUE (n, "first name"))

CREATE TABLE summary AS SELECT name, COUNT(*) AS n FROM users GROUP BY name

CREATE TEMP TABLE scratch (x REAL, y DOUBLE, z BLOB, w BOOLEAN NOT NULL DEFAULT 0)

CREATE VIEW adults AS SELECT * FROM users WHERE age >= 18

CREATE INDEX idx_email ON users (email)

CREATE UNIQUE INDEX IF NOT EXISTS idx_ab ON t (a, b DESC) WHERE a IS NOT NULL

DROP TABLE IF EXISTS users

DROP VIEW adults

DROP INDEX idx_email

ALTER TABLE users ADD COLUMN phone TEXT

ALTER TABLE users RENAME TO people

ALTER TABLE users RENAME COLUMN name TO full_name

ALTER TABLE users DROP COLUMN phone

SELECT DISTINCT a.name FROM artist a WHERE a.id IN (SELECT al.artist_id FROM album al WHERE al.year BETWEEN 1990 AND 1999) ORDER BY a.name COLLATE NOCASE

SELECT COUNT (*) , MAX (x) FROM t

SELECT a FROM t WHERE a=1 AND b<2 OR c>=3

SELECT a,b,c FROM t WHERE x='y'

SELECT name FROM t WHERE lower(name) = lower('ABC') AND name LIKE 'a' || '%'

SELECT * FROM t WHERE a == b AND c IS d AND e IS NOT f

SELECT T1.name FROM t AS T1 JOIN u AS T2 JOIN v AS T3 ON T1.id = T2.id AND T2.k = T3.k

SELECT a FROM t WHERE b LIKE "%x%" AND c = "y"

SELECT min(x) FROM (SELECT max(y) AS x FROM t GROUP BY z)

SELECT x FROM t GROUP BY 1 HAVING COUNT(*) = (SELECT MAX(n) FROM (SELECT COUNT(*) AS n FROM t GROUP BY x))

SELECT a FROM t LEFT JOIN u ON t.id = u.id RIGHT JOIN v ON u.k = v.k FULL OUTER JOIN w ON v.z = w.z

SELECT * FROM (a JOIN b ON a.id = b.id) JOIN c ON b.k = c.k

SELECT COUNT(*) > 5 AS many, NOT active FROM t GROUP BY active

SELECT "first", 'x' AS 'label' FROM t

SELECT -5 % 3, 10 - -2, 7 * -1, NOT 1 = 2

SELECT max(length(name)) - min(length(name)) spread FROM t

SELECT id FROM t WHERE created_at >= datetime('now', '-7 days') AND strftime('%m', d) = '05'

SELECT 1

VALUES (1, 'a'), (2, 'b')

SELECT a FROM t WHERE a IS DISTINCT FROM b

SELECT name FROM sqlite_master WHERE type = 'table'

SELECT total(x), sum(DISTINCT y) FROM t WINDOW w AS (ORDER BY z)

SELECT SUM(x) OVER w FROM t WINDOW w AS (PARTITION BY y ORDER BY z)

SELECT COUNT( * ) FROM t WHERE ( a=1 )AND( b=2 )

select a from t where(b in(1,2))and not(c)

SELECT a FROM t -- all of them

SELECT x FROM t WHERE x REGEXP '^a'

SELECT a FROM t WHERE(a = 1 OR b = 2) AND(c = 3)

SELECT a FROM t JOIN u ON(t.id = u.id) WHERE NOT(a > 1)
