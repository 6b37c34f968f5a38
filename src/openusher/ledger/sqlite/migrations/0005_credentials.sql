-- A revoked edge stays, since attempts and sessions name it; its name may be given again.
CREATE TABLE edges_kept (
  number INTEGER PRIMARY KEY,
  cdn INTEGER NOT NULL REFERENCES accounts,
  name TEXT NOT NULL,
  token_digest TEXT NOT NULL UNIQUE,
  created_s INTEGER NOT NULL,
  kind TEXT NOT NULL,
  options TEXT NOT NULL,
  revoked_s INTEGER NOT NULL
) STRICT;
INSERT INTO edges_kept SELECT number, cdn, name, token_digest, created_s, kind, options, 0 FROM edges;
DROP TABLE edges;
ALTER TABLE edges_kept RENAME TO edges;
CREATE UNIQUE INDEX edges_by_name ON edges (cdn, name) WHERE revoked_s = 0;

-- Tokens that a newer one has replaced, and until when each is still good. Rows may go after that.
CREATE TABLE old_edge_tokens (
  digest TEXT PRIMARY KEY,
  edge INTEGER NOT NULL REFERENCES edges,
  until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- When it signed last, to the minute; 0: never.
ALTER TABLE api_keys ADD COLUMN used_s INTEGER NOT NULL DEFAULT 0;

-- Files of tickets that were taken over. While `done_s` is 0 the tickets that name one are not there to anybody, and
-- those of one that was broken off are deleted. Rows of finished ones stay: their numbers must not come again.
CREATE TABLE imports (
  number INTEGER PRIMARY KEY,
  cdn INTEGER NOT NULL REFERENCES accounts,
  first_ticket INTEGER NOT NULL,
  began_s INTEGER NOT NULL,
  done_s INTEGER NOT NULL
) STRICT;
ALTER TABLE tickets ADD COLUMN import INTEGER NOT NULL DEFAULT 0;

-- An account's tickets, the newest first.
CREATE INDEX tickets_by_account ON tickets (cdn);
