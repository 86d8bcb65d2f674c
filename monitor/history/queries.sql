-- Every statement the ledger runs, by name. Parameters are named after the fields they carry.

-- name: get_meta
SELECT value FROM meta WHERE name = :name

-- name: put_meta
INSERT INTO meta (name, value) VALUES (:name, :value)

-- name: note_meta
INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: insert_alerts
-- The writer puts further rows in place of the mark: one call for many, or its thread would wait for the line's at each.
-- Fails as a whole when one of them is there already: `ON CONFLICT DO NOTHING` would use up a `seq` for each.
INSERT INTO alert (event_id, core, deliverable, committed_ns) VALUES (?, ?, ?, ?) /* rows */

-- name: known_alerts
SELECT event_id FROM alert WHERE event_id IN (SELECT value FROM json_each(:event_ids))

-- name: insert_evidence
-- Of alerts of the same commit. One that was there already keeps what it has, which may be complete.
INSERT INTO evidence (event_id, body) VALUES (?, ?) /* rows */

-- name: replace_evidence
-- After `empty_evidence`. Only for an alert that is there and not erased: evidence without its alert must not fail the
-- commit that carries others.
INSERT INTO evidence (event_id, body)
SELECT column1, column2 FROM (VALUES (?, ?) /* rows */) CROSS JOIN alert ON event_id = column1 WHERE erased_ns IS NULL

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
-- One statement, so both counts are of the same snapshot. All: those that were pruned since, too.
SELECT count(*) + coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'pruned_deliverable'), 0),
  count(*) FILTER (WHERE seq > :seq), coalesce(max(seq), 0) FROM alert WHERE deliverable = 1

-- name: count_since
-- Those after what was counted before; also one snapshot. The last two: of any alert, which tells a ledger that was put
-- back, and up to where they are pruned.
SELECT count(*) FILTER (WHERE seq > :through), count(*) FILTER (WHERE seq > :seq), coalesce(max(seq), 0),
  (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'alert'),
  coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'pruned_through'), 0)
FROM alert WHERE deliverable = 1 AND seq > min(:seq, :through)

-- name: oldest_deliverable
SELECT committed_ns FROM alert WHERE deliverable = 1 AND seq > :seq ORDER BY seq LIMIT 1

-- name: alerts_by_prefix
-- Half-open range over the unique index; `:after` is the smallest text above every id with the prefix.
SELECT seq, event_id, core, deliverable, committed_ns FROM alert
WHERE event_id >= :prefix AND event_id < :after ORDER BY event_id LIMIT :limit

-- name: list_alerts
-- Newest first. The reader writes `column = :column AND` in place of the mark for each filter that is set,
-- so that an index can serve it; values are always bound. What the sidecar records about itself is no alert. Looking
-- for the bytes first spares the rest the reading; a rule may have a label of that name and value.
SELECT seq, event_id, core, deliverable, committed_ns FROM alert
WHERE /* filters */ NOT (
  (instr(core, CAST('"kind":"canary"' AS BLOB)) OR instr(core, CAST('"kind":"pause"' AS BLOB)) OR instr(core, CAST('"kind":"capture"' AS BLOB)))
  AND json_extract(CAST(core AS TEXT), '$.kind') IN ('canary', 'pause', 'capture'))
ORDER BY seq DESC LIMIT :limit

-- name: committed_at
-- Of the first record at or after a position.
SELECT seq, committed_ns FROM alert WHERE seq >= :seq ORDER BY seq LIMIT 1

-- name: canaries
-- Newest first. No rule of anybody can be named like theirs.
SELECT seq, committed_ns FROM alert WHERE rule = :rule AND seq <= :through ORDER BY seq DESC LIMIT :limit

-- name: captures
-- In order. Of a record that no rule decided there are few, and an index finds them.
SELECT core FROM alert WHERE rule IS NULL AND json_extract(CAST(core AS TEXT), '$.kind') = 'capture' ORDER BY seq

-- name: first_canary
SELECT committed_ns FROM alert WHERE rule = :rule ORDER BY seq LIMIT 1

-- name: last_committed
SELECT committed_ns FROM alert ORDER BY seq DESC LIMIT 1

-- name: decided_between
-- What decides about hits to come: those that notified or would have, those that a limit kept back, digests as they
-- are. Looking for the bytes first spares the rest the reading; in canonical JSON no text can contain them, and a label
-- of a rule may be all of them: then its hits are told as hits, also those that decide about nothing.
SELECT committed_ns, CASE WHEN instr(core, CAST('"kind":"digest"' AS BLOB)) AND json_extract(CAST(core AS TEXT), '$.kind') = 'digest'
  THEN core ELSE json_extract(CAST(core AS TEXT),
  '$.rule_sha256', '$.time_ns', '$.epoch', '$.key', '$.decision', '$.would_act', '$.model.name', '$.trusted',
  '$.labels.tenant', '$.labels.user', '$.labels.conversation', '$.labels.route') END
FROM alert
WHERE seq >= :first AND seq < :end AND (
  instr(core, CAST('"would_act":true' AS BLOB)) OR instr(core, CAST('"decision":"limited"' AS BLOB))
  OR instr(core, CAST('"kind":"digest"' AS BLOB)))
ORDER BY seq

-- name: limited_between
-- The rules, by hash of their text, of which a limit kept something back.
SELECT DISTINCT json_extract(CAST(core AS TEXT), '$.rule_sha256') FROM alert
WHERE seq >= :first AND seq < :end AND instr(core, CAST('"decision":"limited"' AS BLOB))

-- name: hits_of
-- What a count needs of the hits of one rule, the newest first.
SELECT event_id, committed_ns, json_extract(CAST(core AS TEXT),
  '$.rule_sha256', '$.status', '$.decision', '$.time_ns', '$.epoch', '$.key', '$.model.name', '$.trusted',
  '$.labels.tenant', '$.labels.user', '$.labels.conversation', '$.labels.route')
FROM alert WHERE rule = :rule AND seq >= :first AND instr(core, CAST('"kind":"alert"' AS BLOB))
ORDER BY seq DESC LIMIT :limit

-- name: count_decisions
SELECT rule, decision, count(*) FROM alert WHERE decision IS NOT NULL GROUP BY rule, decision

-- name: last_seq
-- Also where all of them were pruned.
SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'alert'

-- name: first_seq
SELECT min(seq) FROM alert

-- name: pruned
SELECT coalesce(max(CAST(value AS INTEGER)) FILTER (WHERE name = 'pruned_through'), 0),
  coalesce(max(CAST(value AS INTEGER)) FILTER (WHERE name = 'pruned'), 0),
  coalesce(max(CAST(value AS INTEGER)) FILTER (WHERE name = 'pruned_deliverable'), 0) FROM meta

-- name: contiguous_after
SELECT max(CAST(value AS INTEGER)) FROM meta WHERE name = 'contiguous_after'

-- name: count_alerts
SELECT count(*) FROM alert

-- name: get_evidence
SELECT body FROM evidence WHERE event_id = :event_id AND length(body)

-- name: blob_names
SELECT sha256 FROM blob

-- name: get_blob
SELECT body FROM blob WHERE sha256 = :sha256

-- name: accounts
SELECT epoch, served, served_by, scored, unscored, unaccounted, requests, closed, updated_ns
FROM account ORDER BY updated_ns, epoch
