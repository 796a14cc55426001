-- Every text, ours or from outside, is stored as its UTF-8 bytes: no text can make a write fail or be cut at a NUL.
-- Only names of our own enums are TEXT. `cancel`, `failure`, `terms` and `usage` are JSON; of `terms` only what is not
-- the default, and NULL if all of it is.

CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    store_id TEXT NOT NULL,
    term INTEGER NOT NULL
) STRICT;

CREATE TABLE job (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    tenant BLOB NOT NULL,
    number INTEGER NOT NULL,
    user_id BLOB NOT NULL,
    job_type TEXT NOT NULL,
    privacy_class TEXT NOT NULL,
    model BLOB,
    effort TEXT NOT NULL DEFAULT 'standard',
    thread BLOB,
    estimated_tokens INTEGER NOT NULL,
    terms BLOB,
    status TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
    created_at_ms INTEGER NOT NULL,
    completed_at_ms INTEGER,
    accepted_epoch INTEGER,
    cancel BLOB,
    failure BLOB,
    erased_at_ms INTEGER,
    retried_epoch INTEGER,
    retried_at_ms INTEGER,
    policy TEXT,
    payment_ref BLOB,
    UNIQUE (tenant, number)
) STRICT;

CREATE INDEX job_live ON job (seq) WHERE completed_at_ms IS NULL;
CREATE INDEX job_pending ON job (tenant, seq) WHERE status = 'pending';
CREATE INDEX job_active ON job (tenant, seq) WHERE status IN ('assigned', 'running');
CREATE INDEX job_failed ON job (tenant, seq) WHERE status = 'failed';
CREATE INDEX job_of_thread ON job (tenant, thread, seq) WHERE thread IS NOT NULL;
CREATE INDEX job_of_effort ON job (tenant, effort, seq) WHERE effort <> 'standard';
CREATE INDEX job_with_texts ON job (completed_at_ms) WHERE completed_at_ms IS NOT NULL AND erased_at_ms IS NULL;
CREATE INDEX job_erased ON job (completed_at_ms) WHERE erased_at_ms IS NOT NULL;

-- What the counters had reached in jobs that are no longer kept.
CREATE TABLE dropped (
    tenant BLOB PRIMARY KEY,
    number INTEGER NOT NULL,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE job_input (
    job_seq INTEGER PRIMARY KEY,
    params BLOB NOT NULL,
    metadata BLOB,
    input BLOB NOT NULL
) STRICT;

CREATE TABLE attempt (
    job_seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL CHECK (epoch >= 1),
    tenant BLOB NOT NULL,
    worker BLOB NOT NULL,
    salt BLOB NOT NULL,
    granted_at_ms INTEGER NOT NULL,
    started_at_ms INTEGER,
    ended_at_ms INTEGER,
    "end" TEXT,
    counted INTEGER NOT NULL DEFAULT 0,
    usage BLOB,
    code TEXT,
    message BLOB,
    PRIMARY KEY (job_seq, epoch)
) STRICT, WITHOUT ROWID;

CREATE INDEX attempt_of_worker ON attempt (tenant, worker, job_seq);

-- The output of the one accepted attempt (job.accepted_epoch); `result` is NULL once it is erased. In the order in which
-- they came: were they in that of the jobs, SQLite would move rows between pages and leave copies of texts behind.
CREATE TABLE attempt_output (
    place INTEGER PRIMARY KEY,
    job_seq INTEGER NOT NULL UNIQUE,
    output_hash BLOB NOT NULL,
    model BLOB NOT NULL,
    receipt BLOB NOT NULL,
    result BLOB
) STRICT;

CREATE TABLE idempotency (
    tenant BLOB NOT NULL,
    key BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    job_id BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_age ON idempotency (created_at_ms);

CREATE TABLE worker (
    key BLOB NOT NULL UNIQUE,
    id BLOB NOT NULL UNIQUE,
    name BLOB NOT NULL,
    tenant BLOB NOT NULL,
    status TEXT NOT NULL,
    enrolled_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE worker_token (
    token_hash BLOB NOT NULL UNIQUE,
    tenant BLOB NOT NULL,
    created_by BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    needs_approval INTEGER NOT NULL,
    pairs_with BLOB,
    used_by BLOB
) STRICT;

CREATE INDEX worker_token_used ON worker_token (expires_at_ms) WHERE used_by IS NOT NULL;

CREATE TABLE tenant (
    id BLOB NOT NULL UNIQUE,
    created_at_ms INTEGER NOT NULL,
    weight REAL NOT NULL
) STRICT;

CREATE TABLE api_key (
    key_id BLOB NOT NULL UNIQUE,
    secret_hash BLOB NOT NULL,
    role BLOB NOT NULL,
    tenant BLOB NOT NULL,
    user_id BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL,
    name BLOB,
    created_by BLOB NOT NULL,
    act_for_users INTEGER NOT NULL,
    expires_at_ms INTEGER,
    revoked_at_ms INTEGER,
    old_secret_hash BLOB,
    old_until_ms INTEGER
) STRICT;

-- A tenant's stop: what was submitted up to `stop_seq` ends; `latched`: nothing new is taken.
CREATE TABLE stop (
    tenant BLOB NOT NULL UNIQUE,
    stop_seq INTEGER NOT NULL,
    by BLOB NOT NULL,
    reason BLOB,
    at_ms INTEGER NOT NULL,
    latched INTEGER NOT NULL
) STRICT;

CREATE INDEX api_key_revoked ON api_key (revoked_at_ms) WHERE revoked_at_ms IS NOT NULL;

-- A code, a claim of it, or a pairing: `worker` has claimed it, `paired_at_ms` is when the user confirmed.
CREATE TABLE trust (
    id BLOB NOT NULL UNIQUE,
    tenant BLOB NOT NULL,
    user_id BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    code_hash BLOB NOT NULL,
    keyed INTEGER NOT NULL,
    worker BLOB,
    address BLOB NOT NULL,
    paired_at_ms INTEGER
) STRICT;

CREATE INDEX trust_of_user ON trust (tenant, user_id);
