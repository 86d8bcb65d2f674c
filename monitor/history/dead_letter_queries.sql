-- Every statement over the dead letters in the dispatcher's file, by name.

-- name: dead_letters
SELECT sink, seq, event_id, core, error, at_ns, again_ns FROM dead_letter
WHERE sink = :sink ORDER BY seq LIMIT :limit

-- name: is_dead
SELECT EXISTS (SELECT 1 FROM dead_letter WHERE sink = :sink AND seq = :seq)

-- name: dead_letters_of
SELECT sink, seq, event_id FROM dead_letter
WHERE (:sink IS NULL OR sink = :sink)
  AND (:event_ids IS NULL OR event_id IN (SELECT value FROM json_each(:event_ids)))
ORDER BY sink, seq

-- name: ask_again
UPDATE dead_letter SET again_ns = :now_ns WHERE sink = :sink AND seq = :seq

-- name: count_replays
SELECT count(*) FROM dead_letter WHERE sink = :sink AND again_ns IS NOT NULL

-- name: replays
SELECT sink, seq, event_id, core, error, at_ns, again_ns FROM dead_letter
WHERE sink = :sink AND again_ns IS NOT NULL ORDER BY seq LIMIT :limit

-- name: unbury
DELETE FROM dead_letter WHERE sink = :sink AND seq = :seq

-- name: bury_again
-- What a sink says of one that was erased meanwhile may quote it.
UPDATE dead_letter SET error = iif(error = 'erased', error, :error), at_ns = :now_ns, again_ns = NULL
WHERE sink = :sink AND seq = :seq

-- name: settle_replays
UPDATE sink SET delivered = delivered + :delivered, dead = dead - :delivered, last_ack_ns = :now_ns,
  last_error = NULL, last_error_ns = NULL
WHERE name = :sink

-- name: bury
-- Of an alert that was erased while it was on its way, what is left of it; as the ledger's `erase_alerts`.
INSERT INTO dead_letter (sink, seq, event_id, core, error, at_ns)
SELECT :sink, :seq, :event_id,
  iif(gone, CAST(json_replace(json_remove(CAST(:core AS TEXT), '$.labels.user', '$.labels.conversation',
    '$.labels.request_id', '$.labels.traceparent'), '$.summary', '') AS BLOB), :core),
  iif(gone, 'erased', :error), :now_ns
FROM (SELECT EXISTS (SELECT 1 FROM erased WHERE seq = :seq) AS gone)

-- name: set_aside
-- A position is given to another alert by now. Numbered on below 0, under what was set aside before.
UPDATE dead_letter SET seq = :after - seq + (SELECT min(0, min(seq)) FROM dead_letter WHERE sink = :sink)
WHERE sink = :sink AND seq > :after

-- name: count_dead
SELECT count(*) FROM dead_letter WHERE sink = :sink AND seq > 0

-- name: erase_dead_letters
-- What a sink said of it may quote it.
UPDATE dead_letter SET error = 'erased', core = CAST(json_replace(json_remove(CAST(core AS TEXT), '$.labels.user',
  '$.labels.conversation', '$.labels.request_id', '$.labels.traceparent'), '$.summary', '') AS BLOB)
WHERE event_id IN (SELECT value FROM json_each(:event_ids))

-- name: count_letters
SELECT count(*) FROM dead_letter WHERE sink = :sink

-- name: forget_letters
DELETE FROM dead_letter WHERE sink = :sink
