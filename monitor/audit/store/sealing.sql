-- What moves entries from SQLite into files, and out of them again when their time is over, by name.

-- name: hot_rows
SELECT count(*), min(ingested_ns) FROM entry

-- name: first_young
-- What a clock that ran ahead has taken in does not stop the rest for as long.
SELECT min(idx) FROM entry WHERE idx >= ? AND idx < ? AND ingested_ns > ? AND ingested_ns <= ?

-- name: count
SELECT count(*) FROM entry WHERE idx >= ? AND idx < ?

-- name: times
SELECT min(time_ns), max(time_ns) FROM entry WHERE idx >= ? AND idx < ?

-- name: rows
SELECT /* columns */ FROM entry WHERE idx >= ? AND idx < ? ORDER BY idx

-- name: evidence_of
-- Of the entries in a range, and of those that an entry in it has completed.
SELECT id, subject, month, sealed FROM evidence WHERE id IN (
  SELECT id FROM entry WHERE idx >= ? AND idx < ?
  UNION SELECT about FROM entry WHERE idx >= ? AND idx < ? AND kind = 'evidence'
) ORDER BY id

-- name: put_segment
INSERT INTO segment (first, past, from_ns, to_ns, core, sha256, evidence, gone, few) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: keep_few
INSERT INTO sealed_few SELECT /* columns */ FROM entry WHERE idx >= ? AND idx < ? AND kind NOT IN ('alert', 'evidence')

-- name: retired
SELECT more FROM entry WHERE kind = 'retention' UNION ALL SELECT more FROM sealed_few WHERE kind = 'retention'

-- name: put_few
INSERT OR IGNORE INTO sealed_few VALUES (/* values */)

-- name: has_few
UPDATE segment SET few = 1 WHERE first = ?

-- name: drop_evidence
DELETE FROM evidence WHERE id = ? AND sealed = ?

-- name: drop_entries
DELETE FROM entry WHERE idx >= ? AND idx < ?

-- name: evidence_gone
UPDATE segment SET evidence = NULL WHERE first = ?

-- name: core_gone
UPDATE segment SET evidence = NULL, gone = 1 WHERE first = ?

-- name: drop_few
DELETE FROM sealed_few WHERE idx >= ? AND idx < ?

-- name: old_evidence
SELECT id, subject, sealed FROM evidence WHERE month < ?
