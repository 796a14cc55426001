-- name: user_version
PRAGMA user_version;

-- name: new_store
INSERT OR IGNORE INTO store (one, store_id, term) VALUES (1, :store_id, 0);

-- name: raise_term
UPDATE store SET term = term + 1 RETURNING store_id, term;

-- name: last_seq
SELECT coalesce(max(seq), 0) FROM job;

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
WHERE tenant IS NOT NULL;
