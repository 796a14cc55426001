-- name: user_version
PRAGMA user_version;

-- name: empty_log
-- What was erased or overwritten is still in the log until it is emptied.
PRAGMA wal_checkpoint(TRUNCATE);

-- name: free_pages
PRAGMA freelist_count;

-- name: pages
PRAGMA page_count;

-- name: new_store
INSERT OR IGNORE INTO store (one, store_id, term) VALUES (1, :store_id, 0);

-- name: raise_term
UPDATE store SET term = term + 1 RETURNING store_id, term;

-- name: last_seq
SELECT max(coalesce((SELECT max(seq) FROM job), 0), coalesce((SELECT max(seq) FROM dropped), 0));

-- name: last_numbers
-- Jumps from tenant to tenant along the index instead of reading every job.
WITH RECURSIVE tenants (tenant) AS (
    SELECT min(tenant) FROM job
    UNION ALL
    SELECT (SELECT min(job.tenant) FROM job WHERE job.tenant > tenants.tenant)
    FROM tenants
    WHERE tenants.tenant IS NOT NULL
)
SELECT tenant, (SELECT max(job.number) FROM job WHERE job.tenant = tenants.tenant)
FROM tenants
WHERE tenant IS NOT NULL
UNION ALL
SELECT tenant, number FROM dropped;

-- name: rename_store
UPDATE store SET store_id = :store_id;

-- name: summary
SELECT
    (SELECT store_id FROM store),
    (SELECT count(*) FROM job),
    (SELECT count(*) FROM job WHERE completed_at_ms IS NULL);

-- name: key_ids
SELECT key_id FROM api_key WHERE revoked_at_ms IS NULL;
