-- A batch is committed in three calls: begin, write, commit. Python gives up its interpreter lock in each call and may
-- wait long to get it back while the event loop is busy, so calls must be few; the trigger below does all the work that
-- comes with jobs. What an administrator does comes seldom: its statements, at the end, are one call each, so that they
-- cost the others nothing. (An empty statement of the trigger costs every commit a little.)

-- name: begin
BEGIN IMMEDIATE;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;

-- name: batch_view
-- What one call of `write` is given: the term, all texts one behind the other, and for each statement of the trigger
-- its rows: a JSON array (or NULL) with one array a row. In a row a text is two members: where it begins, how long it
-- is.
CREATE TEMP VIEW batch AS
SELECT
    NULL AS term,
    NULL AS texts,
    NULL AS insert_job,
    NULL AS mark_job,
    NULL AS insert_input,
    NULL AS insert_attempt,
    NULL AS drop_dead_keys,
    NULL AS insert_key,
    NULL AS note_start,
    NULL AS start_job,
    NULL AS request_cancel,
    NULL AS requeue_job,
    NULL AS end_requeued,
    NULL AS revive_job,
    NULL AS revive_attempt,
    NULL AS grant_job,
    NULL AS open_attempt,
    NULL AS complete_job,
    NULL AS complete_attempt,
    NULL AS insert_output,
    NULL AS fail_job,
    NULL AS end_failed;

-- name: batch_trigger
-- The comment above each statement names the members of its rows. Below it, a count that is not the number of rows
-- given means that some job was not in the state the write was decided on. CROSS JOIN holds SQLite to the order
-- written: first the rows given, then the look-up.
CREATE TEMP TRIGGER batch_written INSTEAD OF INSERT ON batch
BEGIN
    SELECT raise(ROLLBACK, 'fenced') FROM store WHERE term <> NEW.term;

    -- seq, number, created_at_ms, epoch, status, job_type, privacy_class, estimated_tokens, id, tenant, user_id, model
    INSERT INTO job (
        seq, number, created_at_ms, epoch, status, job_type, privacy_class, estimated_tokens, id, tenant, user_id, model
    )
    SELECT
        value ->> 0,
        value ->> 1,
        value ->> 2,
        value ->> 3,
        value ->> 4,
        value ->> 5,
        value ->> 6,
        value ->> 7,
        substr(NEW.texts, value ->> 8, value ->> 9),
        substr(NEW.texts, value ->> 10, value ->> 11),
        substr(NEW.texts, value ->> 12, value ->> 13),
        substr(NEW.texts, value ->> 14, value ->> 15)
    FROM json_each(NEW.insert_job);

    -- What few jobs have, apart from the rest, so that it costs the others nothing: seq, effort, policy, thread, terms,
    -- payment_ref
    UPDATE job
    SET
        effort = given.value ->> 1,
        policy = given.value ->> 2,
        thread = substr(NEW.texts, given.value ->> 3, given.value ->> 4),
        terms = substr(NEW.texts, given.value ->> 5, given.value ->> 6),
        payment_ref = substr(NEW.texts, given.value ->> 7, given.value ->> 8)
    FROM json_each(NEW.mark_job) AS given
    WHERE job.seq = given.value ->> 0;

    -- seq, params, metadata, input
    INSERT INTO job_input (job_seq, params, metadata, input)
    SELECT
        value ->> 0,
        substr(NEW.texts, value ->> 1, value ->> 2),
        substr(NEW.texts, value ->> 3, value ->> 4),
        substr(NEW.texts, value ->> 5, value ->> 6)
    FROM json_each(NEW.insert_input);

    -- seq, epoch, granted_at_ms, tenant, worker, salt
    INSERT INTO attempt (job_seq, epoch, granted_at_ms, tenant, worker, salt)
    SELECT
        value ->> 0,
        value ->> 1,
        value ->> 2,
        substr(NEW.texts, value ->> 3, value ->> 4),
        substr(NEW.texts, value ->> 5, value ->> 6),
        substr(NEW.texts, value ->> 7, value ->> 8)
    FROM json_each(NEW.insert_attempt);

    -- expired_before_ms, tenant, key
    DELETE FROM idempotency
    WHERE (tenant, key) IN (
        SELECT held.tenant, held.key
        FROM json_each(NEW.drop_dead_keys) AS given
        CROSS JOIN idempotency AS held
        WHERE held.tenant = substr(NEW.texts, given.value ->> 1, given.value ->> 2)
            AND held.key = substr(NEW.texts, given.value ->> 3, given.value ->> 4)
            AND held.created_at_ms < given.value ->> 0
    );

    -- created_at_ms, tenant, key, fingerprint, job id
    INSERT INTO idempotency (created_at_ms, tenant, key, fingerprint, job_id)
    SELECT
        value ->> 0,
        substr(NEW.texts, value ->> 1, value ->> 2),
        substr(NEW.texts, value ->> 3, value ->> 4),
        substr(NEW.texts, value ->> 5, value ->> 6),
        substr(NEW.texts, value ->> 7, value ->> 8)
    FROM json_each(NEW.insert_key);

    -- job id, epoch, started_at_ms
    UPDATE attempt
    SET started_at_ms = given.value ->> 3
    FROM json_each(NEW.note_start) AS given
    WHERE attempt.job_seq = (
            SELECT job.seq
            FROM job
            WHERE job.id = substr(NEW.texts, given.value ->> 0, given.value ->> 1)
                AND job.epoch = given.value ->> 2
                AND job.status = 'assigned'
        )
        AND attempt.epoch = given.value ->> 2;

    -- job id, epoch, started_at_ms
    UPDATE job
    SET status = 'running'
    FROM (
        SELECT substr(NEW.texts, value ->> 0, value ->> 1) AS id, value ->> 2 AS epoch
        FROM json_each(NEW.start_job)
    ) AS given
    WHERE job.id = given.id AND job.epoch = given.epoch AND job.status = 'assigned';

    -- job id, epoch, cancel
    UPDATE job
    SET cancel = given.cancel
    FROM (
        SELECT
            substr(NEW.texts, value ->> 0, value ->> 1) AS id,
            value ->> 2 AS epoch,
            substr(NEW.texts, value ->> 3, value ->> 4) AS cancel
        FROM json_each(NEW.request_cancel)
    ) AS given
    WHERE job.id = given.id
        AND job.epoch = given.epoch
        AND job.status IN ('assigned', 'running')
        AND job.cancel IS NULL;
    SELECT raise(ROLLBACK, 'request_cancel') WHERE changes() <> json_array_length(NEW.request_cancel);

    -- job id, epoch, counted
    UPDATE job
    SET status = 'pending', tries = tries + given.counted
    FROM (
        SELECT substr(NEW.texts, value ->> 0, value ->> 1) AS id, value ->> 2 AS epoch, value ->> 3 AS counted
        FROM json_each(NEW.requeue_job)
    ) AS given
    WHERE job.id = given.id
        AND job.epoch = given.epoch
        AND job.status IN ('assigned', 'running')
        AND job.cancel IS NULL;
    SELECT raise(ROLLBACK, 'requeue_job') WHERE changes() <> json_array_length(NEW.requeue_job);

    -- job id, epoch, counted, ended_at_ms, end, code, message, usage
    UPDATE attempt
    SET
        "end" = given.value ->> 5,
        ended_at_ms = given.value ->> 4,
        counted = given.value ->> 3,
        code = given.value ->> 6,
        message = substr(NEW.texts, given.value ->> 7, given.value ->> 8),
        usage = substr(NEW.texts, given.value ->> 9, given.value ->> 10)
    FROM json_each(NEW.end_requeued) AS given
    WHERE attempt.job_seq = (
            SELECT job.seq FROM job WHERE job.id = substr(NEW.texts, given.value ->> 0, given.value ->> 1)
        )
        AND attempt.epoch = given.value ->> 2;
    SELECT raise(ROLLBACK, 'end_requeued') WHERE changes() <> json_array_length(NEW.end_requeued);

    -- job id, epoch, counted
    UPDATE job
    SET status = 'running', tries = tries - given.counted
    FROM (
        SELECT substr(NEW.texts, value ->> 0, value ->> 1) AS id, value ->> 2 AS epoch, value ->> 3 AS counted
        FROM json_each(NEW.revive_job)
    ) AS given
    WHERE job.id = given.id
        AND job.epoch = given.epoch
        AND job.status = 'pending'
        AND EXISTS (
            SELECT 1
            FROM attempt
            WHERE attempt.job_seq = job.seq
                AND attempt.epoch = job.epoch
                AND attempt."end" = 'lost'
                AND attempt.counted = given.counted
                AND attempt.epoch IS NOT job.retried_epoch
        );
    SELECT raise(ROLLBACK, 'revive_job') WHERE changes() <> json_array_length(NEW.revive_job);

    -- job id, epoch, started_at_ms
    UPDATE attempt
    SET started_at_ms = given.value ->> 3, ended_at_ms = NULL, "end" = NULL, counted = 0, code = NULL, message = NULL
    FROM json_each(NEW.revive_attempt) AS given
    WHERE attempt.job_seq = (
            SELECT job.seq FROM job WHERE job.id = substr(NEW.texts, given.value ->> 0, given.value ->> 1)
        )
        AND attempt.epoch = given.value ->> 2;
    SELECT raise(ROLLBACK, 'revive_attempt') WHERE changes() <> json_array_length(NEW.revive_attempt);

    -- job id, epoch
    UPDATE job
    SET status = 'assigned', epoch = given.epoch
    FROM (
        SELECT substr(NEW.texts, value ->> 0, value ->> 1) AS id, value ->> 2 AS epoch
        FROM json_each(NEW.grant_job)
    ) AS given
    WHERE job.id = given.id AND job.epoch = given.epoch - 1 AND job.status = 'pending' AND job.cancel IS NULL;
    SELECT raise(ROLLBACK, 'grant_job') WHERE changes() <> json_array_length(NEW.grant_job);

    -- job id, epoch, granted_at_ms, worker, salt
    INSERT INTO attempt (job_seq, epoch, granted_at_ms, tenant, worker, salt)
    SELECT
        job.seq,
        given.value ->> 2,
        given.value ->> 3,
        job.tenant,
        substr(NEW.texts, given.value ->> 4, given.value ->> 5),
        substr(NEW.texts, given.value ->> 6, given.value ->> 7)
    FROM json_each(NEW.open_attempt) AS given
    CROSS JOIN job
    WHERE job.id = substr(NEW.texts, given.value ->> 0, given.value ->> 1);
    SELECT raise(ROLLBACK, 'open_attempt') WHERE changes() <> json_array_length(NEW.open_attempt);

    -- job id, epoch, completed_at_ms
    UPDATE job
    SET status = 'completed', completed_at_ms = given.completed_at_ms, accepted_epoch = given.epoch
    FROM (
        SELECT substr(NEW.texts, value ->> 0, value ->> 1) AS id, value ->> 2 AS epoch, value ->> 3 AS completed_at_ms
        FROM json_each(NEW.complete_job)
    ) AS given
    WHERE job.id = given.id
        AND job.epoch = given.epoch
        AND (
            job.status IN ('assigned', 'running')
            OR job.status = 'pending'
                AND EXISTS (
                    SELECT 1
                    FROM attempt
                    WHERE attempt.job_seq = job.seq
                        AND attempt.epoch = job.epoch
                        AND attempt."end" = 'lost'
                        AND attempt.epoch IS NOT job.retried_epoch
                )
        );
    SELECT raise(ROLLBACK, 'complete_job') WHERE changes() <> json_array_length(NEW.complete_job);

    -- job id, epoch, ended_at_ms, usage
    UPDATE attempt
    SET
        "end" = 'completed',
        ended_at_ms = given.value ->> 3,
        usage = substr(NEW.texts, given.value ->> 4, given.value ->> 5),
        code = NULL,
        message = NULL
    FROM json_each(NEW.complete_attempt) AS given
    WHERE attempt.job_seq = (
            SELECT job.seq FROM job WHERE job.id = substr(NEW.texts, given.value ->> 0, given.value ->> 1)
        )
        AND attempt.epoch = given.value ->> 2;
    SELECT raise(ROLLBACK, 'complete_attempt') WHERE changes() <> json_array_length(NEW.complete_attempt);

    -- job id, output_hash, model, receipt, result
    INSERT INTO attempt_output (job_seq, output_hash, model, receipt, result)
    SELECT
        job.seq,
        substr(NEW.texts, given.value ->> 2, given.value ->> 3),
        substr(NEW.texts, given.value ->> 4, given.value ->> 5),
        substr(NEW.texts, given.value ->> 6, given.value ->> 7),
        substr(NEW.texts, given.value ->> 8, given.value ->> 9)
    FROM json_each(NEW.insert_output) AS given
    CROSS JOIN job
    WHERE job.id = substr(NEW.texts, given.value ->> 0, given.value ->> 1);
    SELECT raise(ROLLBACK, 'insert_output') WHERE changes() <> json_array_length(NEW.insert_output);

    -- job id, epoch, counted, completed_at_ms, failure, cancel
    UPDATE job
    SET
        status = 'failed',
        completed_at_ms = given.completed_at_ms,
        tries = tries + given.counted,
        failure = given.failure,
        cancel = coalesce(given.cancel, job.cancel)
    FROM (
        SELECT
            substr(NEW.texts, value ->> 0, value ->> 1) AS id,
            value ->> 2 AS epoch,
            value ->> 3 AS counted,
            value ->> 4 AS completed_at_ms,
            substr(NEW.texts, value ->> 5, value ->> 6) AS failure,
            substr(NEW.texts, value ->> 7, value ->> 8) AS cancel
        FROM json_each(NEW.fail_job)
    ) AS given
    WHERE job.id = given.id AND job.epoch = given.epoch AND job.completed_at_ms IS NULL;
    SELECT raise(ROLLBACK, 'fail_job') WHERE changes() <> json_array_length(NEW.fail_job);

    -- job id, epoch, counted, ended_at_ms, end, code, message, usage
    UPDATE attempt
    SET
        "end" = given.value ->> 5,
        ended_at_ms = given.value ->> 4,
        counted = given.value ->> 3,
        code = given.value ->> 6,
        message = substr(NEW.texts, given.value ->> 7, given.value ->> 8),
        usage = substr(NEW.texts, given.value ->> 9, given.value ->> 10)
    FROM json_each(NEW.end_failed) AS given
    WHERE attempt.job_seq = (
            SELECT job.seq FROM job WHERE job.id = substr(NEW.texts, given.value ->> 0, given.value ->> 1)
        )
        AND attempt.epoch = given.value ->> 2;
    SELECT raise(ROLLBACK, 'end_failed') WHERE changes() <> json_array_length(NEW.end_failed);
END;

-- name: write
-- OR ROLLBACK: a refusal undoes the transaction, so SQLite keeps no journal for the single statement.
INSERT OR ROLLBACK INTO batch (
    term, texts,
    insert_job,
    mark_job,
    insert_input,
    insert_attempt,
    drop_dead_keys,
    insert_key,
    note_start,
    start_job,
    request_cancel,
    requeue_job,
    end_requeued,
    revive_job,
    revive_attempt,
    grant_job,
    open_attempt,
    complete_job,
    complete_attempt,
    insert_output,
    fail_job,
    end_failed
)
VALUES (
    :term, :texts,
    :insert_job,
    :mark_job,
    :insert_input,
    :insert_attempt,
    :drop_dead_keys,
    :insert_key,
    :note_start,
    :start_job,
    :request_cancel,
    :requeue_job,
    :end_requeued,
    :revive_job,
    :revive_attempt,
    :grant_job,
    :open_attempt,
    :complete_job,
    :complete_attempt,
    :insert_output,
    :fail_job,
    :end_failed
);

-- name: retry_job
UPDATE job
SET
    status = 'pending',
    tries = 0,
    completed_at_ms = NULL,
    failure = NULL,
    cancel = NULL,
    terms = COALESCE(:terms, terms),
    retried_epoch = epoch,
    retried_at_ms = :retried_at_ms
WHERE id = :job_id AND epoch = :epoch AND status = 'failed';

-- name: book_usage
UPDATE attempt
SET usage = :usage
WHERE job_seq = (SELECT seq FROM job WHERE id = :job_id)
    AND epoch = :epoch
    AND worker = :worker
    AND ended_at_ms IS NOT NULL
    AND usage IS NULL;

-- name: insert_token
INSERT INTO worker_token (token_hash, tenant, created_by, created_at_ms, expires_at_ms, needs_approval, pairs_with)
VALUES (:token_hash, :tenant, :created_by, :created_at_ms, :expires_at_ms, :needs_approval, :pairs_with);

-- name: drop_expired_tokens
DELETE FROM worker_token WHERE used_by IS NULL AND expires_at_ms <= :now_ms;

-- name: use_token
UPDATE worker_token SET used_by = :worker WHERE token_hash = :token_hash AND used_by IS NULL;

-- name: insert_worker
INSERT INTO worker (key, id, name, tenant, status, enrolled_at_ms)
VALUES (:worker, :id, :name, :tenant, :status, :enrolled_at_ms)
ON CONFLICT (key) DO UPDATE SET name = :name, tenant = :tenant, status = :status, enrolled_at_ms = :enrolled_at_ms
WHERE worker.tenant = CAST('dispatch' AS BLOB) AND :tenant <> worker.tenant AND worker.status <> 'revoked';

-- name: set_worker_status
UPDATE worker SET status = :status WHERE key = :worker AND status = :before;

-- name: insert_api_key
INSERT INTO api_key (
    key_id, secret_hash, role, tenant, user_id, created_at_ms, name, created_by, act_for_users, expires_at_ms,
    revoked_at_ms, old_secret_hash, old_until_ms
)
VALUES (
    :key_id, :secret_hash, :role, :tenant, :user_id, :created_at_ms, :name, :created_by, :act_for_users, :expires_at_ms,
    :revoked_at_ms, :old_secret_hash, :old_until_ms
);

-- name: replace_api_key
UPDATE api_key
SET
    secret_hash = :secret_hash,
    old_secret_hash = :old_secret_hash,
    old_until_ms = :old_until_ms,
    revoked_at_ms = :revoked_at_ms
WHERE key_id = :key_id AND secret_hash = :secret_hash_before AND revoked_at_ms IS NULL;

-- name: insert_tenant
INSERT INTO tenant (id, created_at_ms, weight) VALUES (:id, :created_at_ms, :weight);

-- name: set_stop
INSERT INTO stop (tenant, stop_seq, by, reason, at_ms, latched)
VALUES (:tenant, :stop_seq, :by, :reason, :at_ms, :latched)
ON CONFLICT (tenant) DO UPDATE
SET
    stop_seq = excluded.stop_seq,
    by = excluded.by,
    reason = excluded.reason,
    at_ms = excluded.at_ms,
    latched = excluded.latched
WHERE stop.stop_seq <= excluded.stop_seq;

-- name: put_trust
INSERT INTO trust (
    id, tenant, user_id, created_at_ms, expires_at_ms, code_hash, keyed, worker, address, paired_at_ms
)
VALUES (
    :id, :tenant, :user_id, :created_at_ms, :expires_at_ms, :code_hash, :keyed, :worker, :address, :paired_at_ms
)
ON CONFLICT (id) DO UPDATE
SET
    code_hash = excluded.code_hash,
    worker = excluded.worker,
    address = excluded.address,
    paired_at_ms = excluded.paired_at_ms;

-- name: drop_trust
DELETE FROM trust WHERE id = :id;

-- name: drop_stop
DELETE FROM stop WHERE tenant = :tenant AND stop_seq = :stop_seq AND NOT latched;

-- The statements about jobs that are to go take :seqs, a JSON array. What has not ended is passed over.

-- name: erase_inputs
UPDATE job_input
SET params = CAST('{}' AS BLOB), metadata = NULL, input = x''
WHERE job_seq IN (
    SELECT job.seq
    FROM json_each(:seqs) AS given
    CROSS JOIN job ON job.seq = given.value
    WHERE job.completed_at_ms IS NOT NULL AND job.erased_at_ms IS NULL
);

-- name: erase_outputs
UPDATE attempt_output
SET result = NULL
WHERE job_seq IN (
    SELECT job.seq
    FROM json_each(:seqs) AS given
    CROSS JOIN job ON job.seq = given.value
    WHERE job.completed_at_ms IS NOT NULL AND job.erased_at_ms IS NULL
);

-- name: erase_attempts
UPDATE attempt
SET message = :message
WHERE message IS NOT NULL
    AND job_seq IN (
        SELECT job.seq
        FROM json_each(:seqs) AS given
        CROSS JOIN job ON job.seq = given.value
        WHERE job.completed_at_ms IS NOT NULL AND job.erased_at_ms IS NULL
    );

-- name: erase_jobs
UPDATE job
SET
    erased_at_ms = :at_ms,
    cancel = CAST(json_set(CAST(cancel AS TEXT), '$.reason', NULL) AS BLOB),
    failure = CAST(json_set(CAST(failure AS TEXT), '$.message', :message, '$.reason', NULL) AS BLOB)
WHERE seq IN (SELECT value FROM json_each(:seqs)) AND completed_at_ms IS NOT NULL AND erased_at_ms IS NULL;

-- name: note_dropped
INSERT INTO dropped (tenant, number, seq)
SELECT tenant, max(number), max(seq)
FROM job
WHERE seq IN (SELECT value FROM json_each(:seqs)) AND completed_at_ms IS NOT NULL
GROUP BY tenant
ON CONFLICT (tenant) DO UPDATE SET number = max(number, excluded.number), seq = max(seq, excluded.seq);

-- name: drop_inputs
DELETE FROM job_input
WHERE job_seq IN (
    SELECT job.seq
    FROM json_each(:seqs) AS given
    CROSS JOIN job ON job.seq = given.value
    WHERE job.completed_at_ms IS NOT NULL
);

-- name: drop_outputs
DELETE FROM attempt_output
WHERE job_seq IN (
    SELECT job.seq
    FROM json_each(:seqs) AS given
    CROSS JOIN job ON job.seq = given.value
    WHERE job.completed_at_ms IS NOT NULL
);

-- name: drop_attempts
DELETE FROM attempt
WHERE job_seq IN (
    SELECT job.seq
    FROM json_each(:seqs) AS given
    CROSS JOIN job ON job.seq = given.value
    WHERE job.completed_at_ms IS NOT NULL
);

-- name: drop_jobs
DELETE FROM job WHERE seq IN (SELECT value FROM json_each(:seqs)) AND completed_at_ms IS NOT NULL;

-- name: drop_idempotency_keys
DELETE FROM idempotency
WHERE (tenant, key) IN (
    SELECT tenant, key
    FROM idempotency INDEXED BY idempotency_age
    WHERE created_at_ms < :before_ms
    ORDER BY created_at_ms
    LIMIT :limit
);

-- name: drop_used_tokens
DELETE FROM worker_token
WHERE rowid IN (
    SELECT rowid
    FROM worker_token INDEXED BY worker_token_used
    WHERE used_by IS NOT NULL AND expires_at_ms < :before_ms
    ORDER BY expires_at_ms
    LIMIT :limit
);

-- name: drop_revoked_keys
DELETE FROM api_key
WHERE rowid IN (
    SELECT rowid
    FROM api_key INDEXED BY api_key_revoked
    WHERE revoked_at_ms < :before_ms
    ORDER BY revoked_at_ms
    LIMIT :limit
);
