-- The tables of both engines, in the words of SQLite. `sql/migrations.rs` says it in those of PostgreSQL; what each has
-- of its own stands in the folder of its name.
--
-- Instants are microseconds since 1970-01-01T00:00:00Z, ids are the 16 bytes of a UUID, words are those of the
-- model. `sequence` gives lists and events their order; nothing outside the store but the feed sees one.

-- One value per name: the key check value, the outgoing settings.
CREATE TABLE house (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE connections (
    sequence   INTEGER PRIMARY KEY,
    id         BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    settings   TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    revision   INTEGER NOT NULL DEFAULT 0, -- grows with every saving
    removed_at INTEGER -- kept only for the removed mailboxes that were on it
) STRICT;

CREATE TABLE credentials (
    sequence   INTEGER PRIMARY KEY,
    id         BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    connection BLOB NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('current', 'next', 'former', 'retired')),
    expires_at INTEGER,
    key_id     TEXT,
    created_at INTEGER NOT NULL,
    sealed     BLOB -- NULL once retired: what is used no more is not kept
) STRICT;
CREATE UNIQUE INDEX credentials_current ON credentials (connection) WHERE state = 'current';
CREATE UNIQUE INDEX credentials_next ON credentials (connection) WHERE state = 'next';
CREATE UNIQUE INDEX credentials_former ON credentials (connection) WHERE state = 'former';
CREATE INDEX credentials_connection ON credentials (connection, sequence);

-- What a procedure of several steps must remember when it is cut off. Never a secret.
CREATE TABLE journals (
    name    TEXT NOT NULL PRIMARY KEY,
    content TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE mailboxes (
    sequence         INTEGER PRIMARY KEY,
    id               BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    connection       BLOB NOT NULL REFERENCES connections (id),
    address          TEXT NOT NULL,
    address_key      TEXT NOT NULL, -- lower-case, so that equal addresses are equal
    user_name        TEXT NOT NULL,
    password         BLOB, -- sealed; NULL where the connection's credential opens it
    polling_interval TEXT NOT NULL,
    old_mail         TEXT NOT NULL, -- how much is taken of what was received before begun_at
    after_processing TEXT NOT NULL, -- what becomes of processed mail at the provider
    begun_at         INTEGER NOT NULL, -- when it was added, or added again
    available_to_all INTEGER NOT NULL CHECK (available_to_all IN (0, 1)),
    revision         INTEGER NOT NULL DEFAULT 0, -- grows with every saving
    state            TEXT NOT NULL,
    last_error       TEXT,
    failures         INTEGER NOT NULL DEFAULT 0,
    last_success_at  INTEGER,
    next_due_at      INTEGER,
    validation       TEXT,
    woken            INTEGER NOT NULL DEFAULT 0 CHECK (woken IN (0, 1)), -- since the last claim
    cursor           TEXT,
    lease_owner      TEXT,
    lease_until      INTEGER,
    fence            INTEGER NOT NULL DEFAULT 0,
    removed_at       INTEGER, -- a removed mailbox keeps its mail, its availability and its cursor
    -- When it can be claimed by the timer: due, and no longer held.
    claimable_at     INTEGER GENERATED ALWAYS AS
        (CASE WHEN removed_at IS NULL THEN CASE WHEN next_due_at < lease_until THEN lease_until ELSE next_due_at END END)
        VIRTUAL
) STRICT;
CREATE UNIQUE INDEX mailboxes_address ON mailboxes (connection, address_key);
CREATE INDEX mailboxes_address_key ON mailboxes (address_key);
CREATE INDEX mailboxes_claimable ON mailboxes (claimable_at) WHERE claimable_at IS NOT NULL;

CREATE TABLE mailbox_types (
    mailbox BLOB NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
    type    TEXT NOT NULL,
    PRIMARY KEY (mailbox, type)
) STRICT, WITHOUT ROWID;

-- Availability: who may see a mailbox that is not available to all.
CREATE TABLE mailbox_groups (
    mailbox BLOB NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
    member  BLOB NOT NULL CHECK (length(member) = 16),
    PRIMARY KEY (mailbox, member)
) STRICT, WITHOUT ROWID;
CREATE TABLE mailbox_roles (
    mailbox BLOB NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
    member  TEXT NOT NULL,
    PRIMARY KEY (mailbox, member)
) STRICT, WITHOUT ROWID;
CREATE TABLE mailbox_users (
    mailbox BLOB NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
    member  BLOB NOT NULL CHECK (length(member) = 16),
    PRIMARY KEY (mailbox, member)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (
    sequence        INTEGER PRIMARY KEY,
    id              BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    state           TEXT NOT NULL,
    connection      BLOB NOT NULL,
    sender          TEXT NOT NULL, -- lower-case; with the connection it names the lane whose order is kept
    envelope        TEXT NOT NULL,
    message_id      TEXT NOT NULL,
    subject         TEXT NOT NULL,
    raw_sha256      TEXT NOT NULL,
    raw_size        INTEGER NOT NULL,
    accepted_at     INTEGER NOT NULL,
    next_attempt_at INTEGER,
    attempts        INTEGER NOT NULL DEFAULT 0,
    provider_id     TEXT,
    last_words      TEXT,
    submitted_by    TEXT NOT NULL,
    follow_up_of    BLOB CHECK (length(follow_up_of) = 16), -- the message that was sent to the other recipients
    lease_owner     TEXT,
    lease_until     INTEGER,
    fence           INTEGER NOT NULL DEFAULT 0,
    -- When it can be claimed: an attempt in progress, when its lease has ended.
    due_at          INTEGER GENERATED ALWAYS AS
        (CASE WHEN state = 'sending' THEN lease_until ELSE next_attempt_at END) VIRTUAL,
    CHECK (state <> 'sending' OR lease_until IS NOT NULL)
) STRICT;
CREATE INDEX outbox_due ON outbox (due_at, sequence) WHERE due_at IS NOT NULL;
CREATE INDEX outbox_state ON outbox (state, sequence);
CREATE INDEX outbox_submitter ON outbox (submitted_by, sequence);
CREATE INDEX outbox_lane ON outbox (connection, sender, sequence) WHERE state IN ('accepted', 'sending');
CREATE INDEX outbox_sending ON outbox (connection, sender) WHERE state = 'sending';
CREATE INDEX outbox_unfinished ON outbox (connection) WHERE state NOT IN ('sent', 'failed', 'cancelled');

CREATE TABLE idempotency_keys (
    submitted_by TEXT NOT NULL,
    key          TEXT NOT NULL,
    request      BLOB NOT NULL CHECK (length(request) = 32),
    message      BLOB NOT NULL REFERENCES outbox (id),
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (submitted_by, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_message ON idempotency_keys (message);

CREATE TABLE inbox (
    sequence    INTEGER PRIMARY KEY,
    id          BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    state       TEXT NOT NULL CHECK (state IN ('stored', 'processed', 'quarantined')),
    reason      TEXT,
    message_id  TEXT, -- as the provider told it: the comparison that finds the same mail
    header_id   TEXT, -- as processing read it: what threads are made of
    content     BLOB NOT NULL CHECK (length(content) = 32), -- digest of what every copy of this mail has in common
    placeholder INTEGER NOT NULL CHECK (placeholder IN (0, 1)), -- the raw message is our own: the mail could not be fetched
    is_old      INTEGER NOT NULL DEFAULT 0 CHECK (is_old IN (0, 1)), -- received before its mailbox was added: never answered
    is_check    INTEGER NOT NULL DEFAULT 0 CHECK (is_check IN (0, 1)), -- a test message: in no mailbox, so nobody sees it
    raw_sha256  TEXT NOT NULL,
    raw_size    INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    stored_at   INTEGER NOT NULL,
    thread      BLOB NOT NULL,
    summary     TEXT
) STRICT;
CREATE INDEX inbox_same ON inbox (content);
CREATE INDEX inbox_listed ON inbox (received_at, sequence) WHERE state <> 'stored';
CREATE INDEX inbox_state ON inbox (state, received_at, sequence);
CREATE INDEX inbox_header_id ON inbox (header_id) WHERE header_id IS NOT NULL;
CREATE INDEX inbox_thread ON inbox (thread);

CREATE TABLE inbox_references (
    header_id TEXT NOT NULL,
    message   INTEGER NOT NULL REFERENCES inbox (sequence) ON DELETE CASCADE,
    PRIMARY KEY (header_id, message)
) STRICT, WITHOUT ROWID;
CREATE INDEX inbox_references_message ON inbox_references (message);

-- Which mailboxes a message came to: what availability is asked about.
CREATE TABLE inbox_mailboxes (
    mailbox     BLOB NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
    received_at INTEGER NOT NULL, -- the message's, so that one mailbox is listed without a sort
    message     INTEGER NOT NULL REFERENCES inbox (sequence) ON DELETE CASCADE,
    PRIMARY KEY (mailbox, received_at, message)
) STRICT, WITHOUT ROWID;
CREATE INDEX inbox_mailboxes_message ON inbox_mailboxes (message);

-- What a mailbox holds at the provider.
CREATE TABLE provider_messages (
    mailbox     BLOB NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
    provider_id TEXT NOT NULL,
    message     INTEGER NOT NULL REFERENCES inbox (sequence) ON DELETE CASCADE,
    removed_at  INTEGER,
    refetch     INTEGER NOT NULL DEFAULT 0 CHECK (refetch IN (0, 1)), -- the next reading fetches it once more
    former      INTEGER NOT NULL DEFAULT 0 CHECK (former IN (0, 1)), -- an id of the interface used before: another follows
    settle_at   INTEGER, -- when it is next marked or moved at the provider; NULL when nothing is to be done
    PRIMARY KEY (mailbox, provider_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX provider_messages_refetch ON provider_messages (mailbox) WHERE refetch = 1;
CREATE INDEX provider_messages_settle ON provider_messages (settle_at) WHERE settle_at IS NOT NULL;
CREATE INDEX provider_messages_former ON provider_messages (mailbox) WHERE former = 1;
CREATE INDEX provider_messages_message ON provider_messages (message);

CREATE TABLE log_entries (
    sequence      INTEGER PRIMARY KEY,
    id            BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    record_type   TEXT NOT NULL,
    record_number TEXT NOT NULL,
    inbox_message INTEGER NOT NULL REFERENCES inbox (sequence),
    direction     TEXT NOT NULL,
    time          INTEGER NOT NULL,
    sender        TEXT NOT NULL,
    recipients    TEXT NOT NULL,
    cc            TEXT NOT NULL,
    bcc           TEXT NOT NULL,
    subject       TEXT NOT NULL,
    filed_by      TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX log_entries_record ON log_entries (record_type, record_number, inbox_message);
CREATE INDEX log_entries_message ON log_entries (inbox_message);

CREATE TABLE events (
    sequence     INTEGER PRIMARY KEY,
    id           BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    at           INTEGER NOT NULL,
    subject_kind TEXT NOT NULL,
    subject_id   BLOB NOT NULL CHECK (length(subject_id) = 16),
    kind         TEXT NOT NULL,
    attempt      INTEGER,
    words        TEXT,
    request_id   TEXT,
    actor        TEXT
) STRICT;
CREATE INDEX events_subject ON events (subject_id, subject_kind, sequence);

CREATE TABLE users (
    id            BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    name          TEXT NOT NULL UNIQUE,
    display_name  TEXT NOT NULL,
    address       TEXT,
    password_hash TEXT,
    removed_at    INTEGER -- the name stays in history and is given to nobody else
) STRICT;
CREATE TABLE user_roles (
    "user" BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    PRIMARY KEY ("user", role)
) STRICT, WITHOUT ROWID;
CREATE TABLE people_groups (
    id   BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    name TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE user_groups (
    "user"  BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    "group" BLOB NOT NULL CHECK (length("group") = 16),
    PRIMARY KEY ("user", "group")
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    id_hash    BLOB NOT NULL PRIMARY KEY CHECK (length(id_hash) = 32),
    "user"     BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_end ON sessions (expires_at);
CREATE INDEX sessions_user ON sessions ("user");

CREATE TABLE api_keys (
    id         BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    key_hash   BLOB NOT NULL UNIQUE CHECK (length(key_hash) = 32),
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE UNIQUE INDEX api_keys_name ON api_keys (name) WHERE revoked_at IS NULL;
