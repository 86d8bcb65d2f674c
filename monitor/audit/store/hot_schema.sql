-- Version 2 of hot.db, where an entry becomes accepted. The columns of `entry` after `leaf` are made from columns.py.

CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('store_id', lower(hex(randomblob(16)))), ('size', '0');

CREATE TABLE entry (
  idx  INTEGER PRIMARY KEY,        -- position in the log; contiguous
  leaf BLOB NOT NULL,              -- canonical JSON: these very bytes are hashed
  /* columns */
);
CREATE UNIQUE INDEX entry_by_id ON entry (id);
CREATE INDEX entry_by_time    ON entry (time_ns);
CREATE INDEX entry_by_kind    ON entry (kind, time_ns);
CREATE INDEX entry_by_tenant  ON entry (tenant, time_ns)  WHERE tenant IS NOT NULL;
CREATE INDEX entry_by_rule    ON entry (rule, time_ns)    WHERE rule IS NOT NULL;
CREATE INDEX entry_by_feature ON entry (feature, time_ns) WHERE feature IS NOT NULL;
CREATE INDEX entry_by_about   ON entry (about)            WHERE about IS NOT NULL;
CREATE INDEX entry_label      ON entry (about)            WHERE kind = 'label' AND about IS NOT NULL;
CREATE TRIGGER entry_is_immutable BEFORE UPDATE ON entry
BEGIN SELECT RAISE(ABORT, 'an entry is never rewritten'); END;

-- Ciphertext of evidence not sealed yet; of one alert the last that came.
CREATE TABLE evidence (
  id      BLOB PRIMARY KEY,        -- of the entry it belongs to
  subject BLOB NOT NULL,
  month   INTEGER NOT NULL,
  sealed  BLOB NOT NULL
) WITHOUT ROWID;

-- Rule texts, programs, terms: whatever an entry names by hash, once.
CREATE TABLE blob (sha256 BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;

-- How far each feed was read, committed together with what was read.
CREATE TABLE cursor (feed TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;

-- Sealed ranges [first, past) of the log, in files under core/ and evidence/.
CREATE TABLE segment (
  first    INTEGER PRIMARY KEY,
  past     INTEGER NOT NULL,
  from_ns  INTEGER NOT NULL,       -- of the events in it
  to_ns    INTEGER NOT NULL,
  core     TEXT NOT NULL,          -- file name
  sha256   TEXT NOT NULL,          -- of that file
  evidence TEXT,                   -- NULL: it has none, or its time is over
  gone     INTEGER NOT NULL DEFAULT 0, -- 1: the time of the core file is over
  few      INTEGER NOT NULL DEFAULT 0  -- 1: all its entries of rare kinds are in sealed_few
);

-- Entries of every kind but alerts and their evidence, once they are sealed: pages ask for them all the time, and there
-- are so few of them that looking into every file is most of an answer.
CREATE TABLE sealed_few (
  idx  INTEGER PRIMARY KEY,
  /* columns */
);
CREATE INDEX few_by_kind  ON sealed_few (kind, time_ns);
CREATE INDEX few_by_about ON sealed_few (about) WHERE about IS NOT NULL;

-- What may not be erased nor dropped: a subject, or one entry.
CREATE TABLE hold (about BLOB PRIMARY KEY, entry BLOB NOT NULL) WITHOUT ROWID;
