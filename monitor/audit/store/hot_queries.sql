-- Every statement of hot.db but the analysts' own (queries.sql), by name.

-- name: get_meta
SELECT value FROM meta WHERE name = :name

-- name: put_meta
INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: get_blob
SELECT body FROM blob WHERE sha256 = ?

-- name: blobs
SELECT body FROM blob ORDER BY sha256

-- name: put_blob
INSERT INTO blob (sha256, body) VALUES (?, ?) ON CONFLICT (sha256) DO NOTHING

-- name: put_evidence
INSERT INTO evidence (id, subject, month, sealed) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed

-- name: get_evidence
SELECT subject, month, sealed FROM evidence WHERE id = ?

-- name: told
SELECT time_ns, position, body FROM entry JOIN blob ON sha256 = terms WHERE id = ?

-- name: cursors
SELECT feed, state FROM cursor WHERE feed >= ? AND feed < ?

-- name: drop_evidence
DELETE FROM evidence WHERE subject = ?

-- name: get_cursor
SELECT state FROM cursor WHERE feed = ?

-- name: put_cursor
INSERT INTO cursor (feed, state) VALUES (?, ?) ON CONFLICT (feed) DO UPDATE SET state = excluded.state

-- name: leaves
SELECT idx, leaf FROM entry WHERE idx >= ? AND idx < ? ORDER BY idx

-- name: sealed_few
SELECT 1 FROM sealed_few WHERE kind = ? AND time_ns = ? AND id = ?

-- name: segments
SELECT first, past, from_ns, to_ns, core, sha256, evidence, gone, few FROM segment ORDER BY first

-- name: is_gone
SELECT gone AND past > :idx FROM segment WHERE first <= :idx ORDER BY first DESC LIMIT 1

-- name: holds
SELECT about, entry FROM hold

-- name: put_hold
INSERT INTO hold (about, entry) VALUES (?, ?) ON CONFLICT (about) DO UPDATE SET entry = excluded.entry

-- name: drop_hold
DELETE FROM hold WHERE about = ?
