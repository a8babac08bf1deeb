-- Who may write as host, next to the version: a snapshot is admitted without reading the lobby. NULL: nobody, or not known; then
-- the lobby itself decides.
ALTER TABLE lobbies ADD COLUMN epoch INTEGER;
ALTER TABLE lobbies ADD COLUMN writer INTEGER;
UPDATE lobbies
SET epoch = json_extract(body, '$.epoch'),
    writer = coalesce(json_extract(body, '$.host.host'), json_extract(body, '$.host.former'))
WHERE body_format = 1 AND json_valid(body);

-- Processes of the service. Whose lease has run out gets an heir: the one that takes over its members.
CREATE TABLE instances (
    id         BLOB    NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    heir       BLOB REFERENCES instances (id) ON DELETE SET NULL
) STRICT;
