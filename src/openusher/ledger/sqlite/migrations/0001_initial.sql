-- What this node is. One row.
--   incarnation: random, renewed by every restore, so that a block's name is never used for other rows.
--   clock_ms: the largest clock seen; time never goes back past it.
--   last_*: counters that only rise; ids of an emptied table would start again at 1.
CREATE TABLE node (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  incarnation INTEGER NOT NULL,
  is_demo INTEGER NOT NULL,
  clock_ms INTEGER NOT NULL,
  last_batch INTEGER NOT NULL,
  last_attempt INTEGER NOT NULL,
  last_block INTEGER NOT NULL,
  shipped_attempt INTEGER NOT NULL
) STRICT;

-- Tenants. Never deleted: their attempts name them.
CREATE TABLE accounts (
  cdn INTEGER PRIMARY KEY CONSTRAINT "a cdn is a positive number" CHECK (cdn > 0),
  name TEXT NOT NULL UNIQUE,
  active INTEGER NOT NULL,
  created_s INTEGER NOT NULL
) STRICT;

CREATE TABLE api_keys (
  api_key TEXT PRIMARY KEY,
  cdn INTEGER NOT NULL REFERENCES accounts,
  secret TEXT NOT NULL,
  created_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE edges (
  number INTEGER PRIMARY KEY,
  cdn INTEGER NOT NULL REFERENCES accounts,
  name TEXT NOT NULL,
  token_digest TEXT NOT NULL UNIQUE,
  created_s INTEGER NOT NULL,
  UNIQUE (cdn, name)
) STRICT;

-- Tickets as they stand. Never deleted: a revoked one stays, inactive.
CREATE TABLE tickets (
  number INTEGER PRIMARY KEY,
  cdn INTEGER NOT NULL REFERENCES accounts,
  key TEXT NOT NULL,
  pass TEXT NOT NULL,
  app TEXT NOT NULL,
  video TEXT NOT NULL,
  ip TEXT NOT NULL,
  uses_limit INTEGER NOT NULL,
  uses_taken INTEGER NOT NULL,
  active INTEGER NOT NULL,
  created_s INTEGER NOT NULL,
  expires_s INTEGER NOT NULL,
  used_s INTEGER NOT NULL,
  UNIQUE (cdn, key),
  CONSTRAINT "never one use too many" CHECK (uses_limit = 0 OR uses_taken <= uses_limit)
) STRICT;

-- Attempts not yet in the log, or all of them where there is none. Rows go once their block is shipped. Where there is
-- none they have indexes for searches: see indexes.py.
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY,
  cdn INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  key TEXT NOT NULL,
  pass TEXT NOT NULL,
  app TEXT NOT NULL,
  appinst TEXT NOT NULL,
  video TEXT NOT NULL,
  ip BLOB NOT NULL CONSTRAINT "an address has 16 bytes" CHECK (length(ip) = 16),
  pageurl TEXT NOT NULL,
  refurl TEXT NOT NULL,
  user_agent TEXT NOT NULL,
  server_ip BLOB NOT NULL CONSTRAINT "a server address has 16 bytes" CHECK (length(server_ip) = 16),
  edge INTEGER NOT NULL,
  cut INTEGER NOT NULL,
  reason TEXT NOT NULL,
  user TEXT NOT NULL GENERATED ALWAYS AS (substr(pass, 1, instr(pass || '|', '|') - 1)) VIRTUAL
) STRICT;

-- First answers to questions that carried an attempt_id, for those who ask again. Rows go after an hour.
CREATE TABLE answers (
  cdn INTEGER NOT NULL,
  attempt_id TEXT NOT NULL,
  digest TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  key TEXT NOT NULL,
  reason TEXT NOT NULL,
  uses_left INTEGER,
  expires_s INTEGER,
  PRIMARY KEY (cdn, attempt_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX answers_by_time ON answers (at_ms);

-- Signatures that created something. Rows go when their timestamp would be refused anyway.
CREATE TABLE replays (
  api_key TEXT NOT NULL,
  digest TEXT NOT NULL,
  until_ms INTEGER NOT NULL,
  PRIMARY KEY (api_key, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX replays_by_time ON replays (until_ms);

-- What the log must hold. Never deleted.
CREATE TABLE blocks (
  number INTEGER PRIMARY KEY,
  incarnation INTEGER NOT NULL,
  first_id INTEGER NOT NULL,
  last_id INTEGER NOT NULL,
  rows INTEGER NOT NULL,
  digest TEXT NOT NULL,
  shipped INTEGER NOT NULL,
  CONSTRAINT "a block has rows" CHECK (rows > 0 AND first_id <= last_id)
) STRICT;
