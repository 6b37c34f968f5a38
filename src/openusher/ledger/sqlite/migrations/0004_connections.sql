-- The media server's own name of the connection or session that watches; empty where viewers ask for each file.
ALTER TABLE sessions ADD COLUMN client TEXT NOT NULL DEFAULT '';
-- 1: it was ended here, and its server is yet to be told to drop the connection.
ALTER TABLE sessions ADD COLUMN owes INTEGER NOT NULL DEFAULT 0;
CREATE INDEX sessions_owed ON sessions (number) WHERE owes = 1;
DROP INDEX sessions_by_viewer;
CREATE INDEX sessions_by_viewer ON sessions (viewer, client) WHERE ended_ms = 0;
