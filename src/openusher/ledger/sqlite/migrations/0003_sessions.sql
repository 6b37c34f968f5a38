-- Sessions number from a counter too: rows of ended ones go.
ALTER TABLE node ADD COLUMN last_session INTEGER NOT NULL DEFAULT 0;

-- How many sessions of a ticket may go on at once, 0 for any number, and whether a new one ends an old one then.
ALTER TABLE tickets ADD COLUMN max_sessions INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tickets ADD COLUMN newest_wins INTEGER NOT NULL DEFAULT 0;

-- What an edge is and how it is set: see model/edge.py.
ALTER TABLE edges ADD COLUMN kind TEXT NOT NULL DEFAULT 'generic';
ALTER TABLE edges ADD COLUMN options TEXT NOT NULL DEFAULT '{}';

-- The newest signs the cookies of sessions; the others are still good for those that they signed.
CREATE TABLE cookie_keys (
  number INTEGER PRIMARY KEY,
  secret TEXT NOT NULL,
  created_s INTEGER NOT NULL
) STRICT;

-- Accepted attempts that go on. `seen_ms` and `watched_ms` are written now and then.
CREATE TABLE sessions (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  cdn INTEGER NOT NULL,
  edge INTEGER NOT NULL,
  ticket INTEGER NOT NULL REFERENCES tickets,
  viewer TEXT NOT NULL,
  app TEXT NOT NULL,
  appinst TEXT NOT NULL,
  video TEXT NOT NULL,
  base TEXT NOT NULL,
  ip BLOB NOT NULL CONSTRAINT "a session's address has 16 bytes" CHECK (length(ip) = 16),
  user_agent TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  started_ms INTEGER NOT NULL,
  seen_ms INTEGER NOT NULL,
  watched_ms INTEGER NOT NULL,
  ended_ms INTEGER NOT NULL,
  ended_by TEXT NOT NULL
) STRICT;
-- Who was kicked: until then no start of that ticket from that address.
CREATE TABLE holds (
  ticket INTEGER NOT NULL,
  ip BLOB NOT NULL CONSTRAINT "a held address has 16 bytes" CHECK (length(ip) = 16),
  until_ms INTEGER NOT NULL,
  PRIMARY KEY (ticket, ip)
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_viewer ON sessions (viewer) WHERE ended_ms = 0;
CREATE INDEX sessions_live ON sessions (number) WHERE ended_ms = 0;
CREATE INDEX sessions_replaced ON sessions (viewer) WHERE ended_by = 'replaced';
CREATE INDEX sessions_by_end ON sessions (cdn, ended_ms) WHERE ended_ms > 0;
CREATE INDEX sessions_by_ticket ON sessions (ticket) WHERE ended_ms = 0;
