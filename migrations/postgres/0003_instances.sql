-- Who may write as host, next to the version: a snapshot is admitted without reading the lobby. NULL: nobody, or not known; then
-- the lobby itself decides.
ALTER TABLE lobbies ADD COLUMN epoch bigint;
ALTER TABLE lobbies ADD COLUMN writer bigint;

-- Processes of the service. Whose lease has run out gets an heir: the one that takes over its members.
CREATE TABLE instances (
    id         bytea  NOT NULL PRIMARY KEY,
    expires_at bigint NOT NULL,
    heir       bytea REFERENCES instances (id) ON DELETE SET NULL
);
