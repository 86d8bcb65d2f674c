-- What people ask of history, by name: one text for both halves, equal rows from both.
--
-- SQLite runs it on what is not sealed yet, DuckDB on all. So: `//` divides whole numbers (SQLite writes it `/`), and
-- is given nothing negative that leaves a rest; every order ends in `idx` or in the group; what may be NULL says where it
-- stands; booleans are cast to 0 or 1. A line that ends in `-- if x` is left out where x is not asked for, `/* only */`
-- stands for the lines of `only` at the end. `:tenants` may be several values.
--
-- entry: all columns of columns.py after `idx`. label: entries of kind label. judged: of every entry with labels the
-- last one, and whether the last words of its reviewers differ.

-- name: alert_by_id
-- about: one entry by its id, or by the first 8 characters and more of it
SELECT * FROM entry WHERE id >= :low AND id <= :high
  AND time_ns >= :from_ns                                                    -- if from_ns
  AND time_ns < :to_ns                                                       -- if to_ns
  AND tenant IN (:tenants)                                                   -- if tenants
ORDER BY idx

-- name: alerts
-- about: alerts with the last verdict on each, the newest first; the next page begins below (before_ns, before_idx)
WITH page AS MATERIALIZED (
  SELECT idx, id FROM entry WHERE kind = :kind
    /* only */
    AND time_ns <= :before_ns AND (time_ns < :before_ns OR idx < :before_idx) -- if before_ns
  ORDER BY time_ns DESC, idx DESC LIMIT :limit
)
SELECT e.*, j.verdict AS judged, j.actor AS judge, j.idx AS judged_idx, j.disagreed
FROM page JOIN entry AS e ON e.idx = page.idx LEFT JOIN (
  /* judged, of page alone */
) AS j ON j.about = e.id
ORDER BY e.time_ns DESC, e.idx DESC

-- name: entries
-- about: all entries of a kind, in the order of the log
SELECT * FROM entry WHERE kind = :kind
  /* only */
ORDER BY idx
LIMIT :limit                                                               -- if limit

-- name: totals
-- about: how many, from when to when, over how many rules and tenants
SELECT count(*) AS n, min(time_ns) AS first_ns, max(time_ns) AS last_ns, count(DISTINCT rule) AS rules,
  count(DISTINCT tenant) AS tenants
FROM entry WHERE kind = :kind
  /* only */

-- name: people
-- about: how many, from when to when, of how many users and conversations
SELECT count(*) AS n, min(time_ns) AS first_ns, max(time_ns) AS last_ns, count(DISTINCT subject) AS subjects,
  count(DISTINCT conversation) AS conversations
FROM entry WHERE kind = :kind
  /* only */

-- name: span
-- about: how many, from when to when
SELECT count(*) AS n, min(time_ns) AS first_ns, max(time_ns) AS last_ns FROM entry WHERE kind = :kind
  /* only */

-- name: count
-- about: how many
SELECT count(*) AS n FROM entry WHERE kind = :kind
  /* only */

-- name: count_by_rule
-- about: how many of each rule
SELECT rule, count(*) AS n FROM entry WHERE kind = :kind
  /* only */
GROUP BY rule ORDER BY n DESC, rule NULLS FIRST

-- name: count_by_tenant
-- about: how many of each rule and tenant, from when to when
SELECT rule, tenant, count(*) AS n, min(time_ns) AS first_ns, max(time_ns) AS last_ns FROM entry WHERE kind = :kind
  /* only */
GROUP BY rule, tenant ORDER BY rule NULLS FIRST, tenant NULLS FIRST

-- name: count_by_severity
-- about: how many of each severity
SELECT severity, count(*) AS n FROM entry WHERE kind = :kind
  /* only */
GROUP BY severity ORDER BY n DESC, severity NULLS FIRST

-- name: count_by_verdict
-- about: how many of each last verdict
SELECT j.verdict, count(*) AS n FROM judged AS j JOIN (
  SELECT id FROM entry WHERE kind = :kind
    /* only */
) AS e ON e.id = j.about
GROUP BY j.verdict ORDER BY n DESC, j.verdict

-- name: top_rules
-- about: the rules with the most, and how many tenants each is about
SELECT rule, count(*) AS n, count(DISTINCT tenant) AS tenants, min(time_ns) AS first_ns, max(time_ns) AS last_ns
FROM entry WHERE kind = :kind
  /* only */
GROUP BY rule ORDER BY n DESC, rule NULLS FIRST LIMIT :limit

-- name: per_day
-- about: how many of each severity a day; days since 1970 of a zone offset_ns ahead of UTC
SELECT (time_ns + :offset_ns) // 86400000000000 AS day, severity, count(*) AS n
FROM entry WHERE kind = :kind
  /* only */
GROUP BY day, severity ORDER BY day, severity NULLS FIRST

-- name: per_day_by_rule
-- about: how many of each rule and severity a day, from when to when; days as of per_day
SELECT (time_ns + :offset_ns) // 86400000000000 AS day, rule, severity, count(*) AS n, min(time_ns) AS first_ns,
  max(time_ns) AS last_ns
FROM entry WHERE kind = :kind
  /* only */
GROUP BY day, rule, severity ORDER BY day, rule NULLS FIRST, severity NULLS FIRST

-- name: values_per_day
-- about: how the values of alerts are distributed a day: the mean code of the span, in bins of `width` codes
SELECT day, bin, count(*) AS n FROM (
  SELECT (time_ns + :offset_ns) // 86400000000000 AS day,
    (mean - ((mean % :width) + :width) % :width) // :width AS bin
  FROM (
    SELECT time_ns, (value_sum - value_sum % value_n) // value_n AS mean FROM entry
    WHERE kind = :kind AND value_n > 0 AND value_sum IS NOT NULL
    /* only */
  ) AS means
) AS binned GROUP BY day, bin ORDER BY day, bin

-- name: rules_seen
-- about: every version of a rule that has decided something, by the hash of its terms
SELECT rule, terms, count(*) AS n, min(time_ns) AS first_ns, max(time_ns) AS last_ns
FROM entry WHERE rule IS NOT NULL
  AND kind = :kind                                                           -- if kind
  /* only */
GROUP BY rule, terms ORDER BY rule, first_ns, terms NULLS FIRST

-- name: labels_by_rule
-- about: last verdicts by rule, and on how many of them reviewers differ
SELECT e.rule, j.verdict, count(*) AS n, sum(j.disagreed) AS disagreed
FROM judged AS j JOIN (
  SELECT id, rule FROM entry WHERE kind = :kind
    /* only */
) AS e ON e.id = j.about
GROUP BY e.rule, j.verdict ORDER BY e.rule NULLS FIRST, j.verdict

-- name: entries_about
-- about: what was done with one entry, in order: labels, holds, views
SELECT * FROM entry WHERE about = :about
  AND kind = :kind                                                           -- if kind
  AND time_ns >= :from_ns                                                    -- if from_ns
  AND time_ns < :to_ns                                                       -- if to_ns
ORDER BY idx

-- name: labels_of
-- about: what reviewers have said of one entry, in order
SELECT * FROM label WHERE about = :about ORDER BY idx

-- name: sample_labels
-- about: what reviewers have said of requests on which nothing fired, in order
SELECT idx, id, time_ns, actor, tenant, verdict, more FROM entry WHERE kind = 'label' AND about IS NULL
  AND time_ns >= :from_ns                                                    -- if from_ns
ORDER BY idx

-- name: ingested
-- about: when the entries at positions [first, past) of the log came in
SELECT idx, ingested_ns FROM entry WHERE idx >= :first AND idx < :past ORDER BY idx
LIMIT :limit                                                               -- if limit

-- name: subject_entries
-- about: everything of one subject, for erasure
SELECT idx, id, kind, time_ns, evidence FROM entry WHERE subject = :subject ORDER BY idx
LIMIT :limit                                                               -- if limit

-- name: coverage
-- about: windows of reconciled coverage, in order of time
SELECT idx, id, time_ns, ingested_ns, source, seq, epoch, more FROM entry WHERE kind = 'coverage'
  AND time_ns >= :from_ns                                                    -- if from_ns
  AND time_ns < :to_ns                                                       -- if to_ns
  AND source = :source                                                       -- if source
ORDER BY time_ns, idx
LIMIT :limit                                                               -- if limit

-- name: gaps
-- about: births and deaths of sources, and positions of theirs that are missing, in order of time
SELECT idx, id, kind, time_ns, ingested_ns, source, seq, epoch, about, more FROM entry
WHERE kind IN ('birth', 'death', 'gap', 'gap-closed', 'restart', 'went-back', 'refused')
  AND time_ns >= :from_ns                                                    -- if from_ns
  AND time_ns < :to_ns                                                       -- if to_ns
  AND source = :source                                                       -- if source
ORDER BY time_ns, idx
LIMIT :limit                                                               -- if limit

-- name: watched
-- about: what says how far a time was watched, in the order of the log: coverage, births, deaths, gaps
SELECT idx, id, kind, time_ns, ingested_ns, source, seq, epoch, more FROM entry
WHERE kind IN ('coverage', 'birth', 'death', 'gap', 'gap-closed', 'went-back')
  AND time_ns >= :from_ns                                                    -- if from_ns
  AND time_ns < :to_ns                                                       -- if to_ns
ORDER BY idx
LIMIT :limit                                                               -- if limit

-- name: access
-- about: who read, exported, held or erased what, the newest first
SELECT idx, id, kind, time_ns, actor, about, tenant, subject, reason, more FROM entry
WHERE kind IN ('view', 'query', 'export', 'hold', 'release', 'erase')
  AND kind = :kind                                                           -- if kind
  AND actor = :actor                                                         -- if actor
  AND about = :about                                                         -- if about
  AND time_ns >= :from_ns                                                    -- if from_ns
  AND time_ns < :to_ns                                                       -- if to_ns
  AND time_ns <= :before_ns AND (time_ns < :before_ns OR idx < :before_idx)   -- if before_ns
ORDER BY time_ns DESC, idx DESC LIMIT :limit

-- name: neighbours
-- about: the entries at positions [first, past) of the log
SELECT * FROM entry WHERE idx >= :first AND idx < :past ORDER BY idx
LIMIT :limit                                                               -- if limit

-- name: only
  AND tenant = :tenant                                                       -- if tenant
  AND tenant IN (:tenants)                                                   -- if tenants
  AND subject = :subject                                                     -- if subject
  AND conversation = :conversation                                           -- if conversation
  AND source = :source                                                       -- if source
  AND rule = :rule                                                           -- if rule
  AND feature = :feature                                                     -- if feature
  AND severity = :severity                                                   -- if severity
  AND status = :status                                                       -- if status
  AND decision = :decision                                                   -- if decision
  AND time_ns >= :from_ns                                                    -- if from_ns
  AND time_ns < :to_ns                                                       -- if to_ns
  AND id IN (SELECT about FROM judged WHERE verdict = :verdict)              -- if verdict
  AND id IN (SELECT about FROM judged WHERE disagreed = :disagreed)          -- if disagreed
  AND id IN (SELECT about FROM label WHERE actor = :reviewer)                -- if reviewer
  AND CAST(id IN (SELECT about FROM label) AS INTEGER) = :labelled           -- if labelled

-- name: judged
SELECT about, verdict, actor, idx, disagreed FROM (
  SELECT about, verdict, actor, idx,
    row_number() OVER (PARTITION BY about ORDER BY idx DESC) AS place,
    CAST(min(verdict) OVER (PARTITION BY about) <> max(verdict) OVER (PARTITION BY about) AS INTEGER) AS disagreed
  FROM (
    SELECT about, verdict, actor, idx, row_number() OVER (PARTITION BY about, actor ORDER BY idx DESC) AS word
    FROM label WHERE verdict IS NOT NULL /* of page */
  ) AS words WHERE word = 1
) AS places WHERE place = 1
