-- Version 1 of the ledger. Executed once, inside the transaction that stamps the version; every later
-- change adds a migration and raises `schema_version`, so a file always says how to read it.

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

-- Identity of this file: a dispatcher's cursors are meaningless against any other ledger.
INSERT INTO meta VALUES ('ledger_id', lower(hex(randomblob(16))));

-- One row per alert, in the order of decision. `core` is the record itself, canonical JSON, never
-- rewritten; the columns after it are read out of it and exist only to be searched.
CREATE TABLE alert (
  seq          INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: cursors are positions in this
  event_id     TEXT NOT NULL UNIQUE,
  core         BLOB NOT NULL,
  deliverable  INTEGER NOT NULL CHECK (deliverable IN (0, 1)),  -- 0: shadow, no sink ever sees it
  committed_ns INTEGER NOT NULL,                   -- wall clock of the commit, same for its whole group
  decision     TEXT    AS (json_extract(CAST(core AS TEXT), '$.decision')),
  feature      TEXT    AS (json_extract(CAST(core AS TEXT), '$.feature')),
  rule         TEXT    AS (json_extract(CAST(core AS TEXT), '$.rule')),
  tenant       TEXT    AS (json_extract(CAST(core AS TEXT), '$.labels.tenant')),
  time_ns      INTEGER AS (json_extract(CAST(core AS TEXT), '$.time_ns'))
);
CREATE INDEX alert_by_feature ON alert (feature);
CREATE INDEX alert_by_rule    ON alert (rule);
CREATE INDEX alert_by_tenant  ON alert (tenant);
CREATE INDEX alert_to_deliver ON alert (seq) WHERE deliverable = 1;
CREATE TRIGGER alert_is_immutable BEFORE UPDATE ON alert
BEGIN SELECT RAISE(ABORT, 'an alert is never rewritten'); END;

-- Codes around the span. Written with the alert as far as they exist, replaced when the rest has come.
CREATE TABLE evidence (
  event_id TEXT PRIMARY KEY REFERENCES alert (event_id),
  body     BLOB NOT NULL
) WITHOUT ROWID;

-- Rule text, programs, cards: whatever a record names by hash, stored once.
CREATE TABLE blob (
  sha256 TEXT PRIMARY KEY,
  body   BLOB NOT NULL
) WITHOUT ROWID;

-- Coverage totals, cumulative per server process. served = scored + sum(unscored) + unaccounted.
CREATE TABLE account (
  epoch       TEXT PRIMARY KEY,                    -- the server process, hex
  served      INTEGER NOT NULL,                    -- tokens, by the server's own count
  served_by   TEXT    NOT NULL,                    -- JSON object: who counted -> tokens
  scored      INTEGER NOT NULL,
  unscored    TEXT    NOT NULL,                    -- JSON object: reason -> tokens
  unaccounted INTEGER NOT NULL,
  requests    INTEGER NOT NULL,                    -- opened
  closed      INTEGER NOT NULL,
  updated_ns  INTEGER NOT NULL
) WITHOUT ROWID;
