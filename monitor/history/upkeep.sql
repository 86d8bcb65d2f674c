-- Every statement that removes something from the ledger, by name.

-- name: erase_alerts
-- The one rewriting that `alert_is_immutable` lets through.
UPDATE alert SET erased_ns = :now_ns, core = CAST(json_replace(json_remove(CAST(core AS TEXT),
  '$.labels.user', '$.labels.conversation', '$.labels.request_id', '$.labels.traceparent'), '$.summary', '') AS BLOB)
WHERE erased_ns IS NULL AND event_id IN (SELECT value FROM json_each(:event_ids))

-- name: empty_evidence
-- In place: a row that is deleted makes others move.
UPDATE evidence SET body = x''
WHERE length(body) AND event_id IN (SELECT value FROM json_each(:event_ids))

-- name: positions
SELECT seq FROM alert WHERE event_id IN (SELECT value FROM json_each(:event_ids))

-- name: add_erasure
INSERT INTO erasure (id, event_ids, done_ns) VALUES (:id, :event_ids, :now_ns) ON CONFLICT (id) DO NOTHING

-- name: sum_erasures
SELECT coalesce(sum(event_ids), 0) FROM erasure

-- name: oldest
SELECT event_id, seq, deliverable, committed_ns FROM alert WHERE seq <= :seq ORDER BY seq LIMIT :limit

-- name: last_seq
SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'alert'

-- name: next_owed
SELECT min(seq) FROM alert WHERE deliverable = 1 AND seq > :seq

-- name: first
SELECT seq FROM alert ORDER BY seq LIMIT 1

-- name: possible_since
-- The first time of commit from a position on that is not in the future.
SELECT committed_ns FROM alert WHERE seq >= :seq AND seq < :end AND committed_ns <= :now_ns ORDER BY seq LIMIT 1

-- name: get_meta
SELECT value FROM meta WHERE name = :name

-- name: add_to_meta
UPDATE meta SET value = CAST(CAST(value AS INTEGER) + :by AS TEXT) WHERE name = :name

-- name: set_meta
UPDATE meta SET value = CAST(:value AS TEXT) WHERE name = :name

-- name: note_pruned
-- The last of them: a copy of one may be left for a while.
INSERT INTO meta (name, value) VALUES ('pruned_lately', :event_ids)
ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: prune_alerts
DELETE FROM alert WHERE seq <= :seq

-- name: first_evidence
-- The first row with something in it.
SELECT n FROM evidence WHERE length(body) ORDER BY n LIMIT 1

-- name: last_evidence
SELECT coalesce(max(n), 0) FROM evidence

-- name: prune_evidence
DELETE FROM evidence WHERE n < :n
