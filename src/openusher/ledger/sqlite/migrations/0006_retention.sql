-- What has been forgotten, for ever: each only rises.
--   kept_from_ms: no answer knows an attempt from before it, nor will one ever be recorded.
--   forgotten_attempt: of those that then were still here, the last from before it. Their rows go in chunks.
--   released_block: the log need hold none of the blocks up to it any more.
ALTER TABLE node ADD COLUMN kept_from_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE node ADD COLUMN forgotten_attempt INTEGER NOT NULL DEFAULT 0;
ALTER TABLE node ADD COLUMN released_block INTEGER NOT NULL DEFAULT 0;
