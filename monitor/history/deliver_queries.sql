-- Every statement over the dispatcher's file, by name.

-- name: get_meta
SELECT value FROM meta WHERE name = :name

-- name: put_meta
INSERT INTO meta (name, value) VALUES (:name, :value)

-- name: set_meta
UPDATE meta SET value = :value WHERE name = :name

-- name: add_sink
INSERT INTO sink (name) VALUES (:sink) ON CONFLICT (name) DO NOTHING

-- name: get_sink
SELECT cursor, delivered, dead, retries, last_ack_ns, last_error, last_error_ns, withheld
FROM sink WHERE name = :sink

-- name: sinks
SELECT name FROM sink ORDER BY name

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
INSERT INTO dead_letter (sink, seq, event_id, core, error, at_ns)
VALUES (:sink, :seq, :event_id, :core, :error, :now_ns)

-- name: dead_letters
SELECT seq, event_id, core, error, at_ns FROM dead_letter
WHERE sink = :sink ORDER BY seq LIMIT :limit
