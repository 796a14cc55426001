"""Every default: its name carries the unit, the comment the reason. Relations are asserted at import."""

from __future__ import annotations

from typing import Final

# Where
HOST: Final = "127.0.0.1"
PORT: Final = 4010
CERTIFICATE_DAYS: Final = 3650  # a self-signed certificate is trusted by its pin, not for its age
CERTIFICATE_RENEWAL_DAYS: Final = 60  # a start this close to its end makes a new one, with the same key

# Clocks between coordinator and workers (seconds)
HEARTBEAT_S: Final = 3.0  # cheap, and three of them fit a lease
LEASE_TTL_S: Final = 10.0  # a worker unheard for this long has lost its attempts
SWEEP_S: Final = 1.0  # how late a lapsed lease may be noticed
REQUEUE_AFTER_S: Final = 5.0  # a lost socket may resume this long before its jobs are granted again
ACCEPT_TIMEOUT_S: Final = 5.0  # a grant neither held nor started by then is taken back
RECONNECT_CAP_S: Final = 2.0  # longest pause between a worker's tries
RECONNECT_BASE_S: Final = 0.1  # first pause
ORPHAN_AFTER_S: Final = 600.0  # a worker goes on this long while nobody listens where its coordinator was
RESTART_GRACE_S: Final = 30.0  # after a start no timer takes work away: workers come back first
STOP_ACK_TIMEOUT_S: Final = 3.0  # a cancelled attempt that is silent this long is ended without it
DRAIN_TIMEOUT_S: Final = 30.0  # TERM → what a worker still runs is given back; service managers wait 90 and 30
LEAVE_S: Final = 5.0  # … → it goes: 3 for a provider to be idle, the rest for answers to what it reported
RESULT_RESEND_S: Final = 10.0  # a worker repeats a result nobody acknowledged
LAZY_WRITE_S: Final = 1.0  # assigned → running is written at the latest after this
DISPLACE_PING_S: Final = 2.0  # an old session that answers within this keeps its key
HANDSHAKE_TIMEOUT_S: Final = 5.0  # to connect, and for each step of a login that waits for no disk
LOGIN_TIMEOUT_S: Final = (
    60.0  # register → register_ack: a commit of a slow disk, while the other end shows that it lives
)
DELTA_FLUSH_S: Final = 0.01  # a worker sends text at most this often: invisible, and frames stay few
SIGN_OF_LIFE_S: Final = 1.0  # a model that reads or thinks shows that it lives at most this often
SOCKET_CLOSE_S: Final = 5.0  # a socket that will not close is dropped

# Times of a job, where it does not say (seconds)
TIMEOUT_S: Final = 3600.0  # one attempt, from its start: longer than any answer, and a hung coding agent ends
FIRST_TOKEN_TIMEOUT_S: Final = 600.0  # before the first sign of life: a slow machine reads a long prompt for minutes
STALL_TIMEOUT_S: Final = 120.0  # between two signs of life: who has begun does not stop for long
MAX_JOB_TIME_S: Final = 7 * 24 * 3600.0  # longest any of these may be
MAX_ATTEMPTS: Final = 3  # a poison job takes down three workers, not the fleet
MAX_ATTEMPTS_LIMIT: Final = 100
PROGRESS_S: Final = 1.0  # how often a session says which attempts showed life
RETRY_BASE_S: Final = 1.0  # pause after the first failure; what was busy for a moment is not any more
RETRY_CAP_S: Final = 60.0  # … which doubles up to this: a provider that is back is noticed within a minute
RETRY_ELSEWHERE_S: Final = 30.0  # so long others may take a job, after its pause, before the one it failed on may again
REJECTS_IN_A_ROW: Final = 5  # then the worker is given nothing for a while: it is the worker, not the jobs
REJECT_COOL_DOWN_S: Final = 30.0  # that while: longer than a provider's restart, shorter than a coffee
MAX_REJECTS: Final = 20  # of one job: nobody takes it, and somebody should hear of it
CHARS_PER_TOKEN: Final = 4  # of English text, about
ANSWER_TOKENS: Final = 512  # how long an answer is expected to be when the job does not say

# Times of a job that came over Dispatch's commit routes (seconds): its clients look no longer
COMMIT_LLM_TIMEOUT_S: Final = 60.0  # from the commit, wherever the job is by then
COMMIT_TASK_TIMEOUT_S: Final = 30.0
COMMIT_MATCH_WINDOW_S: Final = 30.0  # Dispatch looks 15 times for a worker, every 2 s
DISPATCH_NETWORK: Final = "cavvy:local"  # what its clients are told where they expect the name of a chain

# The order of jobs
EFFORT_STEP_S: Final = 600.0  # a job goes before those of the next lower effort that have waited so much longer
TENANT_WEIGHT: Final = 1.0  # a tenant's share of the workers it has in common with others, relative to theirs
TENANT_WEIGHT_MIN: Final = 0.01
TENANT_WEIGHT_MAX: Final = 100.0  # with the least weight of another, ten thousand times its share: enough for anybody
CRITICAL_RUN: Final = 3  # critical jobs in a row while others of the tenant wait: the others keep a quarter
CHARGE_MIN_TOKENS: Final = 256  # what a grant costs its tenant at least: a worker is not free for a short answer …
CHARGE_MAX_TOKENS: Final = 16_384  # … and at most: who asks for a million tokens gets fewer, and is not locked out

# A failing store
COMMIT_RETRY_S: Final = 2.0  # the same writes are tried again this long before callers hear of it
COMMIT_RETRY_PAUSE_S: Final = 0.05
STOP_AHEAD_S: Final = 1.0  # a stop that is not durable by then holds all the same; callers of others wait longer
COMMIT_PROBE_S: Final = 1.0  # … and this often afterwards, the door shut
GATHER_TURNS: Final = 8  # event-loop turns a batch may wait for more while more keeps coming
THREAD_SWITCH_S: Final = 0.00005  # a busy event loop otherwise keeps the writer thread waiting for seconds: measured
ASIDE_BYTES: Final = 16 << 10  # of JSON from outside: more is read in a thread; so much takes 10 ms at the most
GC_THRESHOLDS: Final = (
    20_000,
    50,
    1000,
)  # a job makes hundreds of objects and no cycles: 10 % of the CPU, half the p99
SQLITE_BUSY_TIMEOUT_MS: Final = 500  # somebody else's lock, waited for inside SQLite
SQLITE_CHECKPOINT_PAGES: Final = 8000  # a checkpoint syncs twice: every 32 MiB of log, not every 4, is 10 % more jobs
SQLITE_CACHE_KIB: Final = 65536  # what the writer touches between two checkpoints stays in memory

# Streams and waits
SSE_HEARTBEAT_S: Final = 10.0  # proxies cut idle streams after 15 s and more
MAX_WAIT_S: Final = 60  # longest `?wait=` and `Prefer: wait=`
SSE_RETRY_MS: Final = 1000  # what `bye` asks of readers
FEED_WINDOW_S: Final = 0.1  # of what happens to one job in this time, a tenant's events tell the last
FEED_WORKERS_S: Final = 1.0  # how often workers are looked at for a tenant's events: more often than they report
FEED_BYTES: Final = 4 << 20  # of a tenant's events, for its slowest reader: 100 ms of stopping 10,000 jobs
SHUTDOWN_S: Final = 5.0  # TERM → exit of the coordinator

# Connections
HEADER_TIMEOUT_S: Final = 10  # from the first byte, or from connecting, to the end of the header
TLS_SHUTDOWN_S: Final = 1.0  # for the other end to say that it has seen the end
BODY_TIMEOUT_S: Final = 60  # to the end of the body: the largest batch needs 280 kB/s
KEEP_ALIVE_S: Final = 60  # longer than clients keep an idle connection in their pools
MAX_CONNECTIONS: Final = 4096  # or what the process may open, if that is less
MAX_CONNECTIONS_PER_ADDRESS: Final = 2048  # leaves half for the others
MAX_HEADER_BYTES: Final = 32 << 10
MAX_HEADERS: Final = 100
MAX_FRAGMENTS: Final = 256  # of one WebSocket message
MAX_UNPROVEN_SOCKETS: Final = 256  # workers that are logging in at the same time
MAX_UNPROVEN_BYTES: Final = 1 << 20  # that such a worker may send: its login names 8 × MAX_SLOTS attempts at most
TURNED_AWAY_LOG_S: Final = 10.0  # how often the log says that connections find no room
FILES_RESERVED: Final = 128  # file descriptors kept for the store, pipes and listening

# Limits
MAX_BODY_BYTES: Final = 1 << 20
MAX_BATCH_BODY_BYTES: Final = 16 << 20  # of `POST /v1/jobs/batch`; each job in it stays within MAX_BODY_BYTES
MAX_BATCH_JOBS: Final = 1_000  # in one commit: it holds up the commits behind it by a fraction of a second
STOP_SLICE: Final = 1_000  # waiting jobs that a stop ends in one commit, for the same reason
MAX_OUTPUT_BYTES: Final = 1 << 20  # UTF-8 of the answer's text
MAX_FRAME_BYTES: Final = 8 << 20  # ≥ 6 × the largest body: JSON escapes one byte as up to six
MAX_PENDING: Final = 1_000_000
MAX_PENDING_PER_TENANT: Final = 100_000
MAX_JSON_DEPTH: Final = 64
MAX_JSON_FIELDS: Final = 1024  # of one object
MAX_METADATA_KEYS: Final = 64
MAX_TOKENS_LIMIT: Final = 1_000_000
MAX_STOP_STRINGS: Final = 16
MAX_MESSAGES: Final = 1024
MAX_NAME_CHARS: Final = 256  # model names, worker names, idempotency keys, reasons
MAX_FAILURE_CHARS: Final = 2560  # of a failure's message: the end of a command's stderr and what goes before it
MAX_SLOTS: Final = 1024
MAX_MODELS: Final = 1024
SESSION_QUEUE: Final = 4096  # frames waiting for one worker's socket; full closes it (1013)
LIST_LIMIT: Final = 50
LIST_LIMIT_MAX: Final = 500
FIND_JOBS: Final = 500  # looked at by one read: other readers wait that long
FIND_BYTES: Final = 8 << 20  # … and of texts searched
FIND_READS: Final = 20  # of one request; then it answers what it found, and where to go on

# How long things are kept (0: for ever), and how they go: off the hot path, a slice at a time
TEXTS_DAYS: Final = 90  # a job's prompt, metadata and output after its end: what fills the disk, and what is private
JOBS_DAYS: Final = 365  # … and the rest of it, with its receipt: a year's accounts
REVOKED_KEYS_DAYS: Final = 90  # who looks into a misuse still finds whose key it was
USED_TOKENS_DAYS: Final = 30  # which token let a worker in
RETENTION_EVERY_S: Final = 60.0  # how often it is looked what is due
RETENTION_PAUSE_S: Final = 0.2  # between two slices
RETENTION_ROWS: Final = 200  # of one kind in a commit: the commits behind it wait a few milliseconds
RETENTION_BYTES: Final = 4 << 20  # of texts in a commit: they are overwritten on the disk
RETENTION_CALM_PER_S: Final = 200.0  # commands: above it a slice is put off …
RETENTION_PUT_OFF_S: Final = 600.0  # … at most this long
RETENTION_STEADY_S: Final = 600.0  # nothing goes until the wall clock went along with the monotonic one this long
RETENTION_DRIFT_S: Final = 60.0  # more is a clock that was set, or a machine that slept
ERASED_REMEMBERED_S: Final = 120.0  # a job's erasure, in the core: longer than any request about it is under way
SCRUB_AFTER_S: Final = 5.0  # erased → no longer in any of the store's files: a checkpoint serves all of this time
VACUUM_PAGES: Final = 2048  # moved at a time when free space is given back to the disk
VACUUM_FREE_PAGES: Final = 8192  # less free space (32 MiB) is kept for what comes

# Keys
IDEMPOTENCY_TTL_S: Final = 24 * 3600
IDEMPOTENCY_LIVE_S: Final = 120.0  # the core remembers a key this long: longer than any look-up is under way
WORKER_TOKEN_TTL_S: Final = 15 * 60
KEY_GRACE_S: Final = 24 * 3600  # a rotated key's old secret goes on this long: a day to tell every program
KEY_GRACE_MAX_S: Final = 30 * 24 * 3600
MAX_KEYS_PER_TENANT: Final = 1000  # that are not revoked or expired
SKEW_WARN_MS: Final = 5_000  # a worker's clock off by more is shown

# What `cavvy doctor` calls wrong
DOCTOR_FSYNCS: Final = 25  # measured for the median
DOCTOR_SLOW_FSYNC_MS: Final = 20.0  # a rotating disk needs up to 17; more is a disk that lies in a network, or is ill
DOCTOR_FREE_BYTES: Final = 1 << 30  # a write-ahead log and a few hundred thousand jobs
DOCTOR_TIMEOUT_S: Final = 5.0  # for an answer of the coordinator

# Rate limits
KEY_REQUESTS_PER_S: Final = 10_000  # stops a client that runs wild; a coordinator answers far fewer
KEY_REQUESTS_BURST: Final = 20_000
AUTH_FAILURES_PER_S: Final = 1  # of one address; a valid key is never stopped by it
AUTH_FAILURES_BURST: Final = 60  # a program with a key that has just ended, on many connections
AUTH_FAILURE_ADDRESSES: Final = 4096  # remembered; the ones that failed longest ago go first

# The tenant and user of a single-owner installation
TENANT: Final = "default"
USER: Final = "owner"
SHARED: Final = "*"  # whom the operator's shared workers belong to; no tenant can be called so
DISPATCH_TENANT: Final = "dispatch"  # whom those belong to who send no key, where that is allowed

# Trust between a user and a worker
TRUST_CODE_TTL_S: Final = 3600  # as in Dispatch; a claim that nobody confirms goes then, too
MAX_TRUST_CODE_CHARS: Final = 64  # of what a worker may say is one
MAX_TRUST_CODES: Final = 3  # that a user has open at once: the next one takes the place of the oldest
MAX_UNPAIRED_TRUSTS: Final = 1000  # codes and claims of a tenant: the next one takes the place of the oldest
VISIT_S: Final = 10.0  # that a socket which takes no work stays open
TRUST_POLL_S: Final = 1.0  # between two looks whether somebody has claimed a code
WRONG_CLAIMS_WINDOW_S: Final = 3600
WRONG_CLAIMS_PER_KEY: Final = 10  # a code has 24 bits: whoever guesses is stopped long before it is likely to be right
WRONG_CLAIMS_PER_ADDRESS: Final = 20
WRONG_CLAIMS: Final = 100  # of all: with ten codes open, one guess in 16,000 hours of this is right

# Tasks
TASK_THREADS: Final = 4  # of a worker: they share one processor, and a short task does not wait behind long ones
SUMMARY_CHARS: Final = 600  # longest summary: a paragraph
SUMMARY_WHOLE_CHARS: Final = 200  # a text this short is its own summary; where Dispatch's workers cut
JSON_TASK_DEPTH: Final = 200  # deepest value that is extracted: every JSON reader goes that deep

# Dispatch's workers
MAX_LEGACY_WORKERS: Final = 1000  # they enrol themselves, and each stays known: a loop that makes keys ends here
LEGACY_PROOF_S: Final = 10.0  # for the challenge: they sign in 5 ms, and wait this long for their own answers
LEGACY_SILENCE_S: Final = 30.0  # they send a heartbeat every 10 s, and Dispatch waits this long
LEGACY_STOP_S: Final = 60.0  # for an answer after its job has ended: it cannot be told, and takes this long at most
LEGACY_RECEIPT_S: Final = 10.0  # between an output and its receipt, when they come in two frames
LEGACY_FIRST_FRAME_BYTES: Final = 8 << 10  # of a frame, before the proof: a receipt fits ten times, and 5 ms read it
MAX_LEGACY_FRAME_CHARS: Final = MAX_OUTPUT_BYTES + (64 << 10)  # an output and its receipt; more is not read (0.3 s)
MAX_LEGACY_RECEIPT_BYTES: Final = 4 << 10  # five short fields and a signature

# The embedded model
LLAMACPP_SLOTS: Final = 2
LLAMACPP_CONTEXT_TOKENS: Final = 2048  # for each slot
LLAMACPP_MAX_TOKENS: Final = 512  # an answer's length when the job does not say
LLAMACPP_THREADS: Final = 1  # llama.cpp's threads spin: with two on two busy cores both crawl
SYSTEM_PROMPT: Final = "You are a helpful assistant."

# Providers reached over HTTP
PROVIDER_CONNECT_S: Final = 5.0  # nothing that works takes longer to accept a connection
PROVIDER_READ_S: Final = 600.0  # silence that ends a call: a slow machine reads a long prompt for minutes
PROVIDER_LOCAL_SLOTS: Final = 1  # what a server on one's own machine surely does side by side
PROVIDER_CLOUD_SLOTS: Final = 4
DISCOVER_S: Final = 1.0  # a local server that does not answer within this is not there
OLLAMA_URL: Final = "http://127.0.0.1:11434"
OLLAMA_MIN_CONTEXT: Final = 4096  # tokens: Ollama's own default, below which nothing is saved
OLLAMA_ANSWER_TOKENS: Final = 2048  # room for an answer when the job does not say

# ComputeRouter: Dispatch's SDK has these numbers
ROUTER_POLL_S: Final = 0.5  # between two looks at a job, where the coordinator cannot hold an answer back
ROUTER_ANSWER_S: Final = 2.0  # for what takes no time: a cancel, and the answer to a look whose time is over
ROUTER_HOSTED_TOKENS: Final = 256  # of a hosted provider's answer when the caller does not say
ROUTER_OPENAI_MODEL: Final = "gpt-4o-mini"
ROUTER_ANTHROPIC_MODEL: Final = "claude-sonnet-4-5-20250929"
OPENAI_URL: Final = "https://api.openai.com/v1"
ANTHROPIC_URL: Final = "https://api.anthropic.com"
ANTHROPIC_VERSION: Final = "2023-06-01"  # of its API: the newest there is

# Commands
COMMAND_SLOTS: Final = 1  # most coding agents want the machine to themselves
COMMAND_TIMEOUT_S: Final = 3600.0
COMMAND_KILL_AFTER_S: Final = 2.0  # TERM, then KILL
COMMAND_STDERR_BYTES: Final = 2048  # of a failed command's words, the last are shown

assert LEASE_TTL_S >= 3 * HEARTBEAT_S, "a lease outlives two lost heartbeats"
assert RESTART_GRACE_S >= 10 * RECONNECT_CAP_S, "every worker is back before the grace ends"
assert MAX_FRAME_BYTES >= 6 * max(MAX_BODY_BYTES, MAX_OUTPUT_BYTES) + 65536, (
    "an escaped body and its header fit a frame"
)
assert REQUEUE_AFTER_S <= LEASE_TTL_S
assert STOP_AHEAD_S < COMMIT_RETRY_S, "a stop is answered before it could hear that its outcome is unknown"
assert LOGIN_TIMEOUT_S > HANDSHAKE_TIMEOUT_S
assert ORPHAN_AFTER_S >= RESTART_GRACE_S, "a worker outlasts a coordinator's restart"
assert STALL_TIMEOUT_S <= FIRST_TOKEN_TIMEOUT_S <= TIMEOUT_S <= MAX_JOB_TIME_S, "each has time to pass before the next"
assert PROGRESS_S <= SWEEP_S, "a sweep knows of every sign of life that is older than itself"
assert MAX_ATTEMPTS <= MAX_ATTEMPTS_LIMIT
assert MAX_PENDING_PER_TENANT <= MAX_PENDING
assert 0 < TEXTS_DAYS <= JOBS_DAYS, "a job's texts go no later than the job"
assert RETENTION_BYTES >= 3 * MAX_BODY_BYTES, "input, metadata and output of the largest job fit a slice"
