-- What lobbies are found by: the `Listing` of the protocol. Text is compared byte by byte.
DROP INDEX lobbies_open;
ALTER TABLE lobbies ADD COLUMN listed       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lobbies ADD COLUMN name_folded  TEXT    NOT NULL DEFAULT '';
ALTER TABLE lobbies ADD COLUMN build_id     TEXT    NOT NULL DEFAULT '';
ALTER TABLE lobbies ADD COLUMN available    INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lobbies ADD COLUMN updated_at   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lobbies ADD COLUMN locked       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lobbies ADD COLUMN has_password INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lobbies ADD COLUMN s1 TEXT;
ALTER TABLE lobbies ADD COLUMN s2 TEXT;
ALTER TABLE lobbies ADD COLUMN s3 TEXT;
ALTER TABLE lobbies ADD COLUMN s4 TEXT;
ALTER TABLE lobbies ADD COLUMN s5 TEXT;
ALTER TABLE lobbies ADD COLUMN n1 REAL;
ALTER TABLE lobbies ADD COLUMN n2 REAL;
ALTER TABLE lobbies ADD COLUMN n3 REAL;
ALTER TABLE lobbies ADD COLUMN n4 REAL;
ALTER TABLE lobbies ADD COLUMN n5 REAL;

-- Where players have seats: open lobbies' members.
CREATE TABLE memberships (
    player_id  BLOB    NOT NULL,
    lobby_id   BLOB    NOT NULL REFERENCES lobbies (id) ON DELETE CASCADE,
    connection INTEGER NOT NULL,
    request    BLOB,
    PRIMARY KEY (player_id, lobby_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX memberships_lobby ON memberships (lobby_id);

-- What can be used once, until it is not asked for any more.
CREATE TABLE used_up (
    what  BLOB    NOT NULL PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX used_up_expiry ON used_up (until);

-- What the lobbies themselves tell. One that cannot be read stops nothing; what is missing comes with the next save.
UPDATE lobbies
SET listed = public AND connected > 0,
    name_folded = lower(name),
    build_id = coalesce(json_extract(iif(json_valid(body), body, '{}'), '$.build_id'), ''),
    available = max(max_members - members, 0)
WHERE NOT closed AND body_format = 1;
INSERT INTO memberships (player_id, lobby_id, connection)
SELECT unhex(seat.value ->> 'player'), lobbies.id, CAST(seat.key AS INTEGER)
FROM lobbies, json_each(iif(json_valid(body), body, '{}'), '$.members') AS seat
WHERE NOT closed AND body_format = 1;

UPDATE lobbies SET connected = connected > 0;
ALTER TABLE lobbies DROP COLUMN public;
ALTER TABLE lobbies DROP COLUMN name;
ALTER TABLE lobbies DROP COLUMN members;

CREATE INDEX lobbies_newest ON lobbies (created_at DESC, id) WHERE listed;
CREATE INDEX lobbies_s1 ON lobbies (s1) WHERE listed AND s1 IS NOT NULL;
CREATE INDEX lobbies_s2 ON lobbies (s2) WHERE listed AND s2 IS NOT NULL;
CREATE INDEX lobbies_s3 ON lobbies (s3) WHERE listed AND s3 IS NOT NULL;
CREATE INDEX lobbies_s4 ON lobbies (s4) WHERE listed AND s4 IS NOT NULL;
CREATE INDEX lobbies_s5 ON lobbies (s5) WHERE listed AND s5 IS NOT NULL;
CREATE INDEX lobbies_n1 ON lobbies (n1) WHERE listed AND n1 IS NOT NULL;
CREATE INDEX lobbies_n2 ON lobbies (n2) WHERE listed AND n2 IS NOT NULL;
CREATE INDEX lobbies_n3 ON lobbies (n3) WHERE listed AND n3 IS NOT NULL;
CREATE INDEX lobbies_n4 ON lobbies (n4) WHERE listed AND n4 IS NOT NULL;
CREATE INDEX lobbies_n5 ON lobbies (n5) WHERE listed AND n5 IS NOT NULL;
