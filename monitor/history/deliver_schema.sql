-- Version 1 of the dispatcher's own file: where each sink stands in one ledger. Losing it loses no alert;
-- every sink would be sent the whole ledger again. What version 2 adds is `verdict_schema.sql`: a file that is new is
-- made of both, an old one gets the second, so the way up is the way every file is made.

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

-- delivered and dead count what lies at or before the cursor, and change in the commit that moves it.
CREATE TABLE sink (
  name          TEXT PRIMARY KEY,
  cursor        INTEGER NOT NULL DEFAULT 0,  -- seq of the last alert settled; all before it are settled
  delivered     INTEGER NOT NULL DEFAULT 0,
  dead          INTEGER NOT NULL DEFAULT 0,
  retries       INTEGER NOT NULL DEFAULT 0,  -- batches that had to be sent again
  last_ack_ns   INTEGER,
  last_error    TEXT,                        -- NULL again after the next success
  last_error_ns INTEGER
) WITHOUT ROWID;

-- What a sink refused for what it is. The record is kept whole: it must be possible to send it again.
CREATE TABLE dead_letter (
  sink     TEXT    NOT NULL REFERENCES sink (name),
  seq      INTEGER NOT NULL,
  event_id TEXT    NOT NULL,
  core     BLOB    NOT NULL,
  error    TEXT    NOT NULL,
  at_ns    INTEGER NOT NULL,
  PRIMARY KEY (sink, seq)
) WITHOUT ROWID;
