-- Every statement over the dispatcher's file, by name.

-- name: get_meta
SELECT value FROM meta WHERE name = :name

-- name: put_meta
INSERT INTO meta (name, value) VALUES (:name, :value)

-- name: set_meta
UPDATE meta SET value = :value WHERE name = :name

-- name: note_meta
INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: add_sink
INSERT INTO sink (name) VALUES (:sink) ON CONFLICT (name) DO NOTHING

-- name: get_sink
SELECT cursor, delivered, dead, retries, last_ack_ns, last_error, last_error_ns, withheld, missed
FROM sink WHERE name = :sink

-- name: sinks
SELECT name FROM sink ORDER BY name

-- name: cursors
SELECT name, cursor FROM sink

-- name: skip_pruned
-- All that it settled lies at or before its cursor, and so among the pruned: the rest of those it never had.
UPDATE sink SET missed = :deliverable - delivered - dead - withheld, cursor = :through
WHERE name = :sink AND cursor < :through

-- name: settle
-- A sink that was sent nothing has acknowledged nothing.
UPDATE sink SET cursor = :cursor, delivered = delivered + :delivered, dead = dead + :dead,
  withheld = withheld + :withheld,
  last_ack_ns = iif(:delivered + :dead, :now_ns, last_ack_ns),
  last_error = iif(:delivered + :dead, NULL, last_error),
  last_error_ns = iif(:delivered + :dead, NULL, last_error_ns)
WHERE name = :sink

-- name: fail
UPDATE sink SET retries = retries + 1, last_error = :error, last_error_ns = :now_ns WHERE name = :sink

-- name: bury
-- Of an alert that was erased while it was on its way, what is left of it; as the ledger's `erase_alerts`.
INSERT INTO dead_letter (sink, seq, event_id, core, error, at_ns)
SELECT :sink, :seq, :event_id,
  iif(gone, CAST(json_replace(json_remove(CAST(:core AS TEXT), '$.labels.user', '$.labels.conversation',
    '$.labels.request_id', '$.labels.traceparent'), '$.summary', '') AS BLOB), :core),
  iif(gone, 'erased', :error), :now_ns
FROM (SELECT EXISTS (SELECT 1 FROM erased WHERE seq = :seq) AS gone)

-- name: add_erased
INSERT INTO erased (seq) SELECT value FROM json_each(:seqs) WHERE TRUE ON CONFLICT (seq) DO NOTHING

-- name: erase_dead_letters
-- What a sink said of it may quote it.
UPDATE dead_letter SET error = 'erased', core = CAST(json_replace(json_remove(CAST(core AS TEXT), '$.labels.user',
  '$.labels.conversation', '$.labels.request_id', '$.labels.traceparent'), '$.summary', '') AS BLOB)
WHERE event_id IN (SELECT value FROM json_each(:event_ids))

-- name: erase_verdicts
UPDATE verdict SET reason = '' WHERE seq IN (SELECT value FROM json_each(:seqs))

-- name: forget_verdicts
DELETE FROM verdict WHERE seq <= :through

-- name: dead_letters
SELECT sink, seq, event_id, core, error, at_ns, again_ns FROM dead_letter
WHERE sink = :sink ORDER BY seq LIMIT :limit

-- name: dead_letters_of
SELECT sink, seq, event_id FROM dead_letter
WHERE (:sink IS NULL OR sink = :sink)
  AND (:event_ids IS NULL OR event_id IN (SELECT value FROM json_each(:event_ids)))
ORDER BY sink, seq

-- name: is_dead
SELECT EXISTS (SELECT 1 FROM dead_letter WHERE sink = :sink AND seq = :seq)

-- name: ask_again
UPDATE dead_letter SET again_ns = :now_ns WHERE sink = :sink AND seq = :seq

-- name: replays
SELECT sink, seq, event_id, core, error, at_ns, again_ns FROM dead_letter
WHERE sink = :sink AND again_ns IS NOT NULL ORDER BY seq LIMIT :limit

-- name: count_replays
SELECT count(*) FROM dead_letter WHERE sink = :sink AND again_ns IS NOT NULL

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

-- name: count_letters
SELECT count(*) FROM dead_letter WHERE sink = :sink

-- name: forget_letters
DELETE FROM dead_letter WHERE sink = :sink

-- name: forget_sink
DELETE FROM sink WHERE name = :sink

-- name: ahead
SELECT name, cursor FROM sink WHERE cursor > :after ORDER BY name

-- name: set_aside
-- A position is given to another alert by now. Numbered on below 0, under what was set aside before.
UPDATE dead_letter SET seq = :after - seq + (SELECT min(0, min(seq)) FROM dead_letter WHERE sink = :sink)
WHERE sink = :sink AND seq > :after

-- name: count_dead
SELECT count(*) FROM dead_letter WHERE sink = :sink AND seq > 0

-- name: withheld_beyond
SELECT count(*) FROM verdict WHERE answer = 'no' AND seq > :after AND seq <= :cursor

-- name: go_back
UPDATE sink SET cursor = :after, delivered = :delivered, dead = :dead, withheld = :withheld, missed = :missed
WHERE name = :sink

-- name: drop_verdicts
DELETE FROM verdict WHERE seq > :after

-- name: drop_erased
DELETE FROM erased WHERE seq > :after
