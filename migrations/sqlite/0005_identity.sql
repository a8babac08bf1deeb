-- Keys of game servers. The secret is stored hashed; scopes are separated by spaces.
CREATE TABLE api_keys (
    id            BLOB    NOT NULL PRIMARY KEY,
    hash          BLOB    NOT NULL,
    name          TEXT    NOT NULL,
    scopes        TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    last_used_day INTEGER
) STRICT;
