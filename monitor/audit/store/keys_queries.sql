-- Every statement of the key store, by name.

-- name: find_id
SELECT id FROM name WHERE kind = ? AND tenant = ? AND value = ?

-- name: find_name
SELECT kind, value FROM name WHERE id = ?

-- name: is_person
-- Whether somebody, in whatever tenant, is called so.
SELECT 1 FROM name WHERE kind IN ('user', 'conversation', 'request', 'actor') AND value = :value
AND tenant IN (SELECT id FROM name WHERE kind = 'tenant' UNION ALL SELECT x'') LIMIT 1

-- name: put_id
INSERT INTO name (kind, tenant, value, id, owner) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (kind, tenant, value) DO NOTHING

-- name: find_key
SELECT key FROM subject_key WHERE subject = ? AND month = ?

-- name: put_key
INSERT INTO subject_key (subject, month, key) VALUES (?, ?, ?) ON CONFLICT (subject, month) DO NOTHING

-- name: destroy_keys
DELETE FROM subject_key WHERE subject = ?

-- name: destroy_names
DELETE FROM name WHERE id = ? OR owner = ?

-- name: keys_before
SELECT subject, month FROM subject_key WHERE month < ?

-- name: destroy_key
DELETE FROM subject_key WHERE subject = ? AND month = ?

-- name: owned
SELECT id FROM name WHERE owner = ?

-- name: within
SELECT id FROM name WHERE tenant = ? AND kind <> 'tenant'

-- name: months
SELECT month FROM subject_key WHERE subject = ? ORDER BY month

-- name: make_gone
-- Hashes of the ids of those who were erased, so that nothing under way makes a key or a name for one of them again.
CREATE TABLE IF NOT EXISTS gone (mark BLOB PRIMARY KEY) WITHOUT ROWID

-- name: put_gone
INSERT INTO gone (mark) VALUES (?) ON CONFLICT (mark) DO NOTHING

-- name: find_gone
SELECT 1 FROM gone WHERE mark = ?

-- name: any_gone
-- One of these marks, 32 bytes each behind each other, that stands for somebody erased.
WITH RECURSIVE asked (at) AS (SELECT 1 UNION ALL SELECT at + 32 FROM asked WHERE at + 32 <= length(:marks))
SELECT mark FROM asked CROSS JOIN gone ON mark = substr(:marks, at, 32) LIMIT 1
