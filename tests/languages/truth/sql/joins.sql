-- Users with their orders,
-- the newest first.
SELECT u.name, COUNT(*) AS orders
FROM users u
LEFT JOIN orders o ON o.user_id = u.id
WHERE u.age > 18
GROUP BY u.name
HAVING COUNT(*) > 1
ORDER BY orders DESC
LIMIT 10;
