-- A lobby is one row: the columns that SQL must search, and the value itself as JSON.
CREATE TABLE lobbies (
    id           BLOB    NOT NULL PRIMARY KEY,
    version      INTEGER NOT NULL,
    join_code    TEXT    NOT NULL UNIQUE,
    public       INTEGER NOT NULL,
    name         TEXT    NOT NULL,
    members      INTEGER NOT NULL,
    max_members  INTEGER NOT NULL,
    connected    INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    due_at       INTEGER,
    closed       INTEGER NOT NULL,
    last_event   INTEGER NOT NULL,
    body_format  INTEGER NOT NULL,
    body         TEXT    NOT NULL
) STRICT;

CREATE INDEX lobbies_due ON lobbies (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX lobbies_open ON lobbies (id) WHERE public = 1 AND closed = 0 AND members < max_members;
CREATE INDEX lobbies_connected ON lobbies (id) WHERE connected > 0;

-- Written in the transaction of the lobby that they happened to.
CREATE TABLE events (
    lobby_id BLOB    NOT NULL REFERENCES lobbies (id) ON DELETE CASCADE,
    seq      INTEGER NOT NULL,
    body     TEXT    NOT NULL,
    PRIMARY KEY (lobby_id, seq)
) STRICT, WITHOUT ROWID;

-- generation: epoch and number, each 8 bytes big-endian, so that newer ones sort behind older ones.
CREATE TABLE snapshots (
    lobby_id   BLOB NOT NULL REFERENCES lobbies (id) ON DELETE CASCADE,
    generation BLOB NOT NULL,
    checksum   BLOB NOT NULL,
    record     BLOB NOT NULL,
    PRIMARY KEY (lobby_id, generation)
) STRICT;

CREATE TABLE players (
    id         BLOB    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- A refresh token is a family and a secret. Secrets are stored hashed; the previous one is valid until the current one was used.
CREATE TABLE refresh_families (
    id            BLOB    NOT NULL PRIMARY KEY,
    player_id     BLOB    NOT NULL REFERENCES players (id) ON DELETE CASCADE,
    current_hash  BLOB    NOT NULL,
    previous_hash BLOB,
    expires_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX refresh_families_expiry ON refresh_families (expires_at);
