-- What follows a snapshot, until there is another one. Rows have no reference to their lobby, which would be looked at for each of
-- them: the statement that stores a delta holds the lobby's lock, and those that delete snapshots and lobbies delete their deltas.
CREATE TABLE snapshot_deltas (
    lobby_id   bytea NOT NULL,
    snapshot   bytea NOT NULL,
    generation bytea NOT NULL,
    record     bytea NOT NULL,
    PRIMARY KEY (lobby_id, snapshot, generation)
);
ALTER TABLE snapshot_deltas ALTER COLUMN record SET STORAGE EXTERNAL;

-- Beside the newest generation, be it a snapshot or a delta: its checksum, and the snapshot that it stands on with the number and
-- the bytes of its deltas. A closed lobby has none.
DELETE FROM newest_snapshots WHERE NOT EXISTS (
    SELECT FROM snapshots
    WHERE snapshots.lobby_id = newest_snapshots.lobby_id AND snapshots.generation = newest_snapshots.generation
);
ALTER TABLE newest_snapshots
    ADD COLUMN checksum bytea,
    ADD COLUMN snapshot bytea,
    ADD COLUMN deltas integer NOT NULL DEFAULT 0,
    ADD COLUMN delta_bytes bigint NOT NULL DEFAULT 0;
UPDATE newest_snapshots SET checksum = snapshots.checksum, snapshot = snapshots.generation FROM snapshots
    WHERE snapshots.lobby_id = newest_snapshots.lobby_id AND snapshots.generation = newest_snapshots.generation;
ALTER TABLE newest_snapshots ALTER COLUMN checksum SET NOT NULL, ALTER COLUMN snapshot SET NOT NULL;
-- Each delta changes a row: there is room for the next version beside it.
ALTER TABLE newest_snapshots SET (fillfactor = 50);
