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

-- name: add_erased
INSERT INTO erased (seq) SELECT value FROM json_each(:seqs) WHERE TRUE ON CONFLICT (seq) DO NOTHING

-- name: erase_verdicts
UPDATE verdict SET reason = '' WHERE seq IN (SELECT value FROM json_each(:seqs))

-- name: forget_verdicts
DELETE FROM verdict WHERE seq <= :through

-- name: forget_sink
DELETE FROM sink WHERE name = :sink

-- name: ahead
SELECT name, cursor FROM sink WHERE cursor > :after ORDER BY name

-- name: withheld_beyond
SELECT count(*) FROM verdict WHERE answer = 'no' AND seq > :after AND seq <= :cursor

-- name: go_back
UPDATE sink SET cursor = :after, delivered = :delivered, dead = :dead, withheld = :withheld, missed = :missed
WHERE name = :sink

-- name: drop_verdicts
DELETE FROM verdict WHERE seq > :after

-- name: drop_erased
DELETE FROM erased WHERE seq > :after
