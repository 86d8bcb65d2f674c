-- What version 2 adds to the ledger: what is personal in an alert can be removed, and alerts can go when they are old.
-- Executed once, inside the transaction that stamps the version; a file that is new is made of `schema.sql` and this.

-- Erasure takes the labels that lead to a person and the summary out of a record, and nothing else ever changes one.
-- The expression is that of `erase_alerts`.
ALTER TABLE alert ADD COLUMN erased_ns INTEGER;  -- wall clock; NULL: never asked for
DROP TRIGGER alert_is_immutable;
CREATE TRIGGER alert_is_immutable BEFORE UPDATE ON alert
WHEN NOT (
  OLD.erased_ns IS NULL AND typeof(NEW.erased_ns) = 'integer'
  AND NEW.seq = OLD.seq AND NEW.event_id = OLD.event_id
  AND NEW.deliverable = OLD.deliverable AND NEW.committed_ns = OLD.committed_ns
  AND NEW.core IS CAST(json_replace(json_remove(CAST(OLD.core AS TEXT),
    '$.labels.user', '$.labels.conversation', '$.labels.request_id', '$.labels.traceparent'), '$.summary', '') AS BLOB)
)
BEGIN SELECT RAISE(ABORT, 'an alert is never rewritten'); END;

-- Alerts go from the front alone, counted: `pruned_through` moves first, in the same transaction.
INSERT INTO meta VALUES ('pruned_through', '0'), ('pruned', '0'), ('pruned_deliverable', '0');
CREATE TRIGGER alert_is_kept BEFORE DELETE ON alert
WHEN OLD.seq > (SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'pruned_through')
BEGIN SELECT RAISE(ABORT, 'an alert is never deleted before it is counted as pruned'); END;

-- From here on `seq` has no gaps; version 1 left some where a decision was taken twice.
INSERT INTO meta SELECT 'contiguous_after', CAST(coalesce(max(seq), 0) AS TEXT) FROM sqlite_sequence WHERE name = 'alert';

-- Rows are only ever added at the end and emptied where they stand, because SQLite leaves copies of rows that it moves
-- in unused parts of pages, where nothing overwrites them. At most one row of an alert is not empty.
ALTER TABLE evidence RENAME TO evidence_1;
CREATE TABLE evidence (
  n        INTEGER PRIMARY KEY,
  event_id TEXT NOT NULL,
  body     BLOB NOT NULL  -- x'': replaced, or erased
);
INSERT INTO evidence (event_id, body) SELECT event_id, body FROM evidence_1 JOIN alert USING (event_id) ORDER BY seq;
CREATE INDEX evidence_by_alert ON evidence (event_id);
DROP TABLE evidence_1;

-- What was asked for and done. Its ids are nobody's.
CREATE TABLE erasure (
  id        TEXT PRIMARY KEY,
  event_ids INTEGER NOT NULL,  -- how many were asked for
  done_ns   INTEGER NOT NULL
) WITHOUT ROWID;
