-- What has been anonymised, for ever: each only rises.
--   anonymised_before_ms: of attempts from before it, every answer has the viewer's net, and no agent and no pages.
--   anonymised_attempt: the rows up to it have been written so here.
--   anonymised_block: the digests of blocks up to it are those of their attempts so.
ALTER TABLE node ADD COLUMN anonymised_before_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE node ADD COLUMN anonymised_attempt INTEGER NOT NULL DEFAULT 0;
ALTER TABLE node ADD COLUMN anonymised_block INTEGER NOT NULL DEFAULT 0;
