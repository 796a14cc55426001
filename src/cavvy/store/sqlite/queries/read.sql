-- Read by the reader thread, which never writes.

-- name: whole_jobs
-- :rows and :texts as in write.sql: job id, tenant. A job has one row an attempt; only the highest carries the texts.
SELECT
    given.key,
    job.seq, job.number, job.user_id, job.job_type, job.privacy_class, job.model, job.effort, job.thread,
    job.estimated_tokens, job.terms, job.policy, job.payment_ref, job.status, job.epoch, job.tries,
    job.created_at_ms, job.completed_at_ms, job.erased_at_ms, job.accepted_epoch, job.cancel, job.failure,
    job.retried_epoch, job.retried_at_ms,
    job_input.params, job_input.metadata, attempt_output.output_hash, attempt_output.model,
    CASE WHEN job.epoch = coalesce(attempt.epoch, 0) THEN job_input.input END,
    CASE WHEN job.epoch = attempt.epoch THEN attempt_output.receipt END,
    CASE WHEN job.epoch = attempt.epoch THEN attempt_output.result END,
    attempt.epoch, attempt.worker, worker.id, attempt.salt, attempt.granted_at_ms, attempt.started_at_ms,
    attempt.ended_at_ms, attempt."end", attempt.counted, attempt.usage, attempt.code, attempt.message
FROM json_each(:rows) AS given
CROSS JOIN job
JOIN job_input ON job_input.job_seq = job.seq
LEFT JOIN attempt_output ON attempt_output.job_seq = job.seq
LEFT JOIN attempt ON attempt.job_seq = job.seq
LEFT JOIN worker ON worker.key = attempt.worker
WHERE job.id = substr(:texts, given.value ->> 0, given.value ->> 1)
    AND job.tenant = substr(:texts, given.value ->> 2, given.value ->> 3);

-- name: jobs
SELECT
    job.seq, job.number, job.user_id, job.job_type, job.privacy_class, job.model, job.effort, job.thread,
    job.estimated_tokens, job.terms, job.policy, job.payment_ref, job.status, job.epoch, job.tries,
    job.created_at_ms, job.completed_at_ms, job.erased_at_ms, job.accepted_epoch, job.cancel, job.failure,
    job.retried_epoch, job.retried_at_ms,
    job_input.params, job_input.metadata, attempt_output.output_hash, attempt_output.model,
    job.id
FROM job
JOIN job_input ON job_input.job_seq = job.seq
LEFT JOIN attempt_output ON attempt_output.job_seq = job.seq
WHERE job.tenant = :tenant AND job.number < :before
ORDER BY job.number DESC
LIMIT :limit;

-- name: seq_before
-- The tenant's newest job below a number.
SELECT seq FROM job WHERE tenant = :tenant AND number < :before ORDER BY number DESC LIMIT 1;

-- name: number_of
SELECT number FROM job WHERE seq = :seq;

-- name: seqs_of_tenant
SELECT seq FROM job WHERE tenant = :tenant AND number < :before ORDER BY number DESC LIMIT :limit;

-- name: seqs_pending
SELECT seq
FROM job INDEXED BY job_pending
WHERE status = 'pending' AND tenant = :tenant AND seq <= :from_seq
ORDER BY seq DESC
LIMIT :limit;

-- name: seqs_active
SELECT seq
FROM job INDEXED BY job_active
WHERE status IN ('assigned', 'running') AND tenant = :tenant AND seq <= :from_seq
ORDER BY seq DESC
LIMIT :limit;

-- name: seqs_failed
SELECT seq
FROM job INDEXED BY job_failed
WHERE status = 'failed' AND tenant = :tenant AND seq <= :from_seq
ORDER BY seq DESC
LIMIT :limit;

-- name: seqs_of_thread
SELECT seq
FROM job INDEXED BY job_of_thread
WHERE tenant = :tenant AND thread = :thread AND thread IS NOT NULL AND seq <= :from_seq
ORDER BY seq DESC
LIMIT :limit;

-- name: seqs_of_effort
-- Of any but `standard`, which most jobs are.
SELECT seq
FROM job INDEXED BY job_of_effort
WHERE tenant = :tenant AND effort = :effort AND effort <> 'standard' AND seq <= :from_seq
ORDER BY seq DESC
LIMIT :limit;

-- name: seqs_of_worker
SELECT DISTINCT job_seq
FROM attempt INDEXED BY attempt_of_worker
WHERE tenant = :tenant AND worker = :worker AND job_seq <= :from_seq
ORDER BY job_seq DESC
LIMIT :limit;

-- name: jobs_of_seqs
-- :seqs is a JSON array, newest first, :statuses one of names or NULL. The rows come in the order of :seqs, which is the
-- outer loop; sorting them would hold all their texts at once.
SELECT
    CASE WHEN :texts THEN job_input.input END,
    job.seq, job.number, job.user_id, job.job_type, job.privacy_class, job.model, job.effort, job.thread,
    job.estimated_tokens, job.terms, job.policy, job.payment_ref, job.status, job.epoch, job.tries,
    job.created_at_ms, job.completed_at_ms, job.erased_at_ms, job.accepted_epoch, job.cancel, job.failure,
    job.retried_epoch, job.retried_at_ms,
    job_input.params, job_input.metadata, attempt_output.output_hash, attempt_output.model,
    job.id
FROM json_each(:seqs) AS given
CROSS JOIN job ON job.seq = given.value
JOIN job_input ON job_input.job_seq = job.seq
LEFT JOIN attempt_output ON attempt_output.job_seq = job.seq
WHERE job.tenant = :tenant
    AND (:statuses IS NULL OR job.status IN (SELECT value FROM json_each(:statuses)))
    AND (:thread IS NULL OR job.thread = :thread)
    AND (:effort IS NULL OR job.effort = :effort)
    AND (:worker IS NULL OR EXISTS (SELECT 1 FROM attempt WHERE attempt.job_seq = job.seq AND attempt.worker = :worker));

-- name: headers
-- One row of JSON: SQLite makes it without Python's lock while Python takes up the page before.
WITH header AS (
    SELECT job.seq, json_array(
        CAST(job.id AS TEXT), job.seq, job.number, CAST(job.user_id AS TEXT), CAST(job.tenant AS TEXT), job.job_type,
        job.privacy_class, CAST(job.model AS TEXT), job.status, job.created_at_ms, job.epoch, job.tries,
        CAST(attempt.worker AS TEXT), attempt."end", attempt.counted, CAST(job.cancel AS TEXT), job.effort,
        CAST(job.thread AS TEXT), job.estimated_tokens, CAST(job.terms AS TEXT), job.retried_epoch, job.policy,
        CAST(job.payment_ref AS TEXT)
    ) AS fields
    FROM job
    LEFT JOIN attempt ON attempt.job_seq = job.seq AND attempt.epoch = job.epoch
    WHERE job.completed_at_ms IS NULL AND job.seq > :after_seq
    ORDER BY job.seq
    LIMIT :limit
)
SELECT max(seq), '[' || group_concat(fields) || ']' FROM header;

-- name: all_workers
SELECT key, id, name, tenant, status, enrolled_at_ms FROM worker ORDER BY enrolled_at_ms, rowid;

-- name: workers
SELECT key, id, name, tenant, status, enrolled_at_ms
FROM worker
WHERE tenant IN (:tenant, :shared)
ORDER BY enrolled_at_ms, rowid;

-- name: unused_tokens
SELECT token_hash, tenant, expires_at_ms, needs_approval, pairs_with FROM worker_token WHERE used_by IS NULL;

-- name: api_keys
SELECT
    key_id, secret_hash, role, tenant, user_id, created_at_ms, name, created_by, act_for_users, expires_at_ms,
    revoked_at_ms, old_secret_hash, old_until_ms
FROM api_key
ORDER BY rowid;

-- name: tenants
SELECT id, created_at_ms, weight FROM tenant ORDER BY rowid;

-- name: all_trust
SELECT id, tenant, user_id, created_at_ms, expires_at_ms, code_hash, keyed, worker, address, paired_at_ms
FROM trust
ORDER BY rowid;

-- name: trust_of_user
SELECT id, tenant, user_id, created_at_ms, expires_at_ms, code_hash, keyed, worker, address, paired_at_ms
FROM trust
WHERE tenant = :tenant AND user_id = :user_id
ORDER BY rowid;

-- name: stops
SELECT tenant, stop_seq, by, reason, at_ms, latched FROM stop ORDER BY rowid;

-- name: inputs
-- :rows and :texts as in write.sql: job id
SELECT job.id, job_input.input, job_input.params, coalesce(attempt.salt, x'')
FROM json_each(:rows) AS given
CROSS JOIN job
JOIN job_input ON job_input.job_seq = job.seq
LEFT JOIN attempt ON attempt.job_seq = job.seq AND attempt.epoch = job.epoch
WHERE job.id = substr(:texts, given.value ->> 0, given.value ->> 1);

-- name: accepted
SELECT attempt.worker, job.accepted_epoch IS attempt.epoch
FROM job
JOIN attempt ON attempt.job_seq = job.seq
WHERE job.id = :id AND attempt.epoch = :epoch;

-- name: idempotent
-- :rows and :texts as in write.sql: key
SELECT given.key, idempotency.job_id, idempotency.fingerprint
FROM json_each(:rows) AS given
CROSS JOIN idempotency
WHERE idempotency.tenant = :tenant
    AND idempotency.key = substr(:texts, given.value ->> 0, given.value ->> 1)
    AND idempotency.created_at_ms >= :not_before_ms;

-- name: due_with_texts
SELECT
    job.completed_at_ms, job.seq, job.id,
    length(job_input.input) + coalesce(length(job_input.metadata), 0) + coalesce(length(attempt_output.result), 0)
FROM job INDEXED BY job_with_texts
JOIN job_input ON job_input.job_seq = job.seq
LEFT JOIN attempt_output ON attempt_output.job_seq = job.seq
WHERE job.completed_at_ms >= :since_ms AND job.completed_at_ms < :before_ms AND job.erased_at_ms IS NULL
ORDER BY job.completed_at_ms, job.seq
LIMIT :limit;

-- name: due_erased
SELECT completed_at_ms, seq, id, 0
FROM job INDEXED BY job_erased
WHERE completed_at_ms < :before_ms AND erased_at_ms IS NOT NULL
ORDER BY completed_at_ms, seq
LIMIT :limit;

-- name: due_keys
SELECT count(*)
FROM (SELECT 1 FROM idempotency INDEXED BY idempotency_age WHERE created_at_ms < :before_ms LIMIT :limit);

-- name: due_tokens
SELECT count(*)
FROM (
    SELECT 1
    FROM worker_token INDEXED BY worker_token_used
    WHERE used_by IS NOT NULL AND expires_at_ms < :before_ms
    LIMIT :limit
);

-- name: due_api_keys
SELECT count(*)
FROM (SELECT 1 FROM api_key INDEXED BY api_key_revoked WHERE revoked_at_ms < :before_ms LIMIT :limit);
