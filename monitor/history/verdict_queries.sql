-- Every statement over verdicts in the dispatcher's file, by name.

-- name: add_confirmer
INSERT INTO confirmer (name) VALUES (:confirmer) ON CONFLICT (name) DO NOTHING

-- name: add_verdict
-- A reason is someone else's words: of an alert that is erased, none.
INSERT INTO verdict (seq, confirmer, answer, reason, cost, ms, asked, at_ns)
SELECT :seq, :confirmer, :answer, iif(EXISTS (SELECT 1 FROM erased WHERE seq = :seq), '', :reason), :cost, :ms, :asked,
  :at_ns WHERE TRUE
ON CONFLICT (seq) DO NOTHING

-- name: count_verdict
UPDATE confirmer SET asked = asked + :asked, cost = cost + :cost, ms = ms + :ms,
  yes = yes + (:answer = 'yes'), no = no + (:answer = 'no'), unanswered = unanswered + (:answer = 'unanswered')
WHERE name = :confirmer

-- name: get_verdict
SELECT seq, confirmer, answer, reason, cost, ms, asked, at_ns FROM verdict WHERE seq = :seq

-- name: answers_between
SELECT seq, answer FROM verdict WHERE seq BETWEEN :first AND :last

-- name: confirmers
SELECT name, asked, yes, no, unanswered, cost, ms FROM confirmer ORDER BY name
