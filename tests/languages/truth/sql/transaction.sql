BEGIN;

-- Within a transaction.
INSERT INTO t VALUES (1);

COMMIT;

-- After it.
SELECT 1;
