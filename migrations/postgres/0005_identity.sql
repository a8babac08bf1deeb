-- Keys of game servers. The secret is stored hashed; scopes are separated by spaces.
CREATE TABLE api_keys (
    id            bytea  NOT NULL PRIMARY KEY,
    hash          bytea  NOT NULL,
    name          text   NOT NULL,
    scopes        text   NOT NULL,
    created_at    bigint NOT NULL,
    expires_at    bigint,
    last_used_day bigint
);
