-- Every statement the ledger runs, by name. Parameters are named after the fields they carry.

-- name: get_meta
SELECT value FROM meta WHERE name = :name

-- name: put_meta
INSERT INTO meta (name, value) VALUES (:name, :value)

-- name: insert_alert
-- A second record with the same event id is the same decision, taken again after a crash: keep the first.
INSERT INTO alert (event_id, core, deliverable, committed_ns)
VALUES (:event_id, :core, :deliverable, :committed_ns)
ON CONFLICT (event_id) DO NOTHING

-- name: upsert_evidence
-- Only for an alert that exists: evidence without its alert must not fail the commit that carries others.
INSERT INTO evidence (event_id, body)
SELECT event_id, :body FROM alert WHERE event_id = :event_id
ON CONFLICT (event_id) DO UPDATE SET body = excluded.body

-- name: insert_blob
INSERT INTO blob (sha256, body) VALUES (:sha256, :body) ON CONFLICT (sha256) DO NOTHING

-- name: upsert_account
INSERT INTO account
  (epoch, served, served_by, scored, unscored, unaccounted, requests, closed, updated_ns)
VALUES
  (:epoch, :served, :served_by, :scored, :unscored, :unaccounted, :requests, :closed, :updated_ns)
ON CONFLICT (epoch) DO UPDATE SET
  served = excluded.served, served_by = excluded.served_by, scored = excluded.scored, unscored = excluded.unscored,
  unaccounted = excluded.unaccounted, requests = excluded.requests, closed = excluded.closed,
  updated_ns = excluded.updated_ns

-- name: alerts_since
SELECT seq, event_id, core, deliverable, committed_ns FROM alert
WHERE seq > :seq ORDER BY seq LIMIT :limit

-- name: deliverable_since
SELECT seq, event_id, core, deliverable, committed_ns FROM alert
WHERE deliverable = 1 AND seq > :seq ORDER BY seq LIMIT :limit

-- name: count_deliverable
-- One statement, so both counts are of the same snapshot.
SELECT count(*), count(*) FILTER (WHERE seq > :seq) FROM alert WHERE deliverable = 1

-- name: oldest_deliverable
SELECT committed_ns FROM alert WHERE deliverable = 1 AND seq > :seq ORDER BY seq LIMIT 1

-- name: alerts_by_prefix
-- Half-open range over the unique index; `:after` is the smallest text above every id with the prefix.
SELECT seq, event_id, core, deliverable, committed_ns FROM alert
WHERE event_id >= :prefix AND event_id < :after ORDER BY event_id LIMIT :limit

-- name: list_alerts
-- Newest first. The reader writes `column = :column AND` in place of the mark for each filter that is set,
-- so that an index can serve it; values are always bound.
SELECT seq, event_id, core, deliverable, committed_ns FROM alert
WHERE /* filters */ TRUE
ORDER BY seq DESC LIMIT :limit

-- name: last_seq
SELECT coalesce(max(seq), 0) FROM alert

-- name: count_alerts
SELECT count(*) FROM alert

-- name: get_evidence
SELECT body FROM evidence WHERE event_id = :event_id

-- name: get_blob
SELECT body FROM blob WHERE sha256 = :sha256

-- name: accounts
SELECT epoch, served, served_by, scored, unscored, unaccounted, requests, closed, updated_ns
FROM account ORDER BY updated_ns, epoch
