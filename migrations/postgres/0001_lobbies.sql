-- A lobby is one row: the columns that SQL must search, and the value itself as JSON.
CREATE TABLE lobbies (
    id           bytea   NOT NULL PRIMARY KEY,
    version      bigint  NOT NULL,
    join_code    text    NOT NULL UNIQUE,
    public       boolean NOT NULL,
    name         text    NOT NULL,
    members      integer NOT NULL,
    max_members  integer NOT NULL,
    connected    integer NOT NULL,
    created_at   bigint  NOT NULL,
    due_at       bigint,
    closed       boolean NOT NULL,
    last_event   bigint  NOT NULL,
    body_format  integer NOT NULL,
    body         text    NOT NULL
);

CREATE INDEX lobbies_due ON lobbies (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX lobbies_open ON lobbies (id) WHERE public AND NOT closed AND members < max_members;
CREATE INDEX lobbies_connected ON lobbies (id) WHERE connected > 0;

-- Written in the transaction of the lobby that they happened to.
CREATE TABLE events (
    lobby_id bytea  NOT NULL REFERENCES lobbies (id) ON DELETE CASCADE,
    seq      bigint NOT NULL,
    body     text   NOT NULL,
    PRIMARY KEY (lobby_id, seq)
);

-- generation: epoch and number, each 8 bytes big-endian, so that newer ones sort behind older ones.
CREATE TABLE snapshots (
    lobby_id   bytea NOT NULL REFERENCES lobbies (id) ON DELETE CASCADE,
    generation bytea NOT NULL,
    checksum   bytea NOT NULL,
    record     bytea NOT NULL,
    PRIMARY KEY (lobby_id, generation)
);
-- Games send compressed state or none that compresses well: no time is spent on it.
ALTER TABLE snapshots ALTER COLUMN record SET STORAGE EXTERNAL;

-- The newest generation that a lobby has had. Whether a snapshot is newer is decided on this row, in the statement that stores the
-- snapshot: a row is read anew once it is locked, rows that others insert into `snapshots` meanwhile are not seen.
CREATE TABLE newest_snapshots (
    lobby_id   bytea NOT NULL PRIMARY KEY REFERENCES lobbies (id) ON DELETE CASCADE,
    generation bytea NOT NULL
);

CREATE TABLE players (
    id         bytea  NOT NULL PRIMARY KEY,
    name       text   NOT NULL,
    created_at bigint NOT NULL
);

-- A refresh token is a family and a secret. Secrets are stored hashed; the previous one is valid until the current one was used.
CREATE TABLE refresh_families (
    id            bytea  NOT NULL PRIMARY KEY,
    player_id     bytea  NOT NULL REFERENCES players (id) ON DELETE CASCADE,
    current_hash  bytea  NOT NULL,
    previous_hash bytea,
    expires_at    bigint NOT NULL
);

CREATE INDEX refresh_families_expiry ON refresh_families (expires_at);
