-- Closed lobbies are kept for a day, and players for as long as they can come back.
ALTER TABLE lobbies ADD COLUMN closed_at bigint;
CREATE INDEX lobbies_closed ON lobbies (closed_at) WHERE closed_at IS NOT NULL;

CREATE INDEX refresh_families_player ON refresh_families (player_id);
