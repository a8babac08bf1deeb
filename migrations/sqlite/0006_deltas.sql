-- The newest generation of a lobby, be it a snapshot or a delta: its checksum, and the snapshot that it stands on with the number
-- and the bytes of its deltas. A closed lobby has none.
CREATE TABLE newest_snapshots (
    lobby_id    BLOB    NOT NULL PRIMARY KEY REFERENCES lobbies (id) ON DELETE CASCADE,
    generation  BLOB    NOT NULL,
    checksum    BLOB    NOT NULL,
    snapshot    BLOB    NOT NULL,
    deltas      INTEGER NOT NULL DEFAULT 0,
    delta_bytes INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

INSERT INTO newest_snapshots (lobby_id, generation, checksum, snapshot)
    SELECT lobby_id, generation, checksum, generation FROM snapshots
    WHERE generation = (SELECT max(generation) FROM snapshots AS newest WHERE newest.lobby_id = snapshots.lobby_id);

-- What follows a snapshot, until there is another one.
CREATE TABLE snapshot_deltas (
    lobby_id   BLOB NOT NULL REFERENCES lobbies (id) ON DELETE CASCADE,
    snapshot   BLOB NOT NULL,
    generation BLOB NOT NULL,
    record     BLOB NOT NULL,
    PRIMARY KEY (lobby_id, snapshot, generation)
) STRICT, WITHOUT ROWID;
