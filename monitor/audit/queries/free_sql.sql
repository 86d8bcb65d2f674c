-- Views for an auditor's own SQL: ids and hashes as hex, times with their zone. They stand on `entry` and `label`.

-- name: entries
SELECT idx, lower(hex(id)) AS id, kind, make_timestamptz(time_ns // 1000) AS time, time_ns,
  make_timestamptz(ingested_ns // 1000) AS ingested, source, seq, lower(hex(tenant)) AS tenant,
  lower(hex(subject)) AS subject, lower(hex(conversation)) AS conversation, route, epoch, "key", decision, reason,
  would_act, clause, span_start, span_end, "position", value_sum, value_n, tokens_scored, tokens_unscored,
  lower(hex(terms)) AS terms, lower(hex(evidence)) AS evidence, rule, feature, status, severity, scope, shape, level,
  model, threshold_code, lower(hex(about)) AS about, actor, verdict, more
FROM entry

-- name: alerts
SELECT idx, lower(hex(id)) AS id, make_timestamptz(time_ns // 1000) AS time, time_ns,
  make_timestamptz(ingested_ns // 1000) AS ingested, source, seq, lower(hex(tenant)) AS tenant,
  lower(hex(subject)) AS subject, lower(hex(conversation)) AS conversation, route, epoch, "key", decision, reason,
  would_act, clause, span_start, span_end, "position", value_sum, value_n, value_sum / value_n / 256 AS value_sd,
  tokens_scored, tokens_unscored, lower(hex(terms)) AS terms, lower(hex(evidence)) AS evidence, rule, feature, status,
  severity, scope, shape, level, model, threshold_code, threshold_code / 256 AS threshold_sd, more
FROM entry WHERE kind = 'alert'

-- name: labels
SELECT l.idx, lower(hex(l.id)) AS id, make_timestamptz(l.time_ns // 1000) AS time, lower(hex(l.about)) AS alert,
  l.actor AS reviewer, l.verdict, l.reason, j.idx IS NOT NULL AS latest, coalesce(j.disagreed, 0) = 1 AS disagreed
FROM label AS l LEFT JOIN judged AS j ON j.idx = l.idx

-- name: rules
SELECT rule, feature, severity, status, lower(hex(terms)) AS terms, count(*) AS n,
  make_timestamptz(min(time_ns) // 1000) AS first, make_timestamptz(max(time_ns) // 1000) AS last
FROM entry WHERE rule IS NOT NULL GROUP BY rule, feature, severity, status, terms

-- name: access
SELECT idx, lower(hex(id)) AS id, kind, make_timestamptz(time_ns // 1000) AS time, split_part(actor, ':', 1) AS role,
  split_part(actor, ':', 2) AS who, lower(hex(about)) AS about, lower(hex(tenant)) AS tenant,
  lower(hex(subject)) AS subject, reason, more
FROM entry WHERE kind IN ('view', 'query', 'export', 'hold', 'release', 'erase')

-- name: coverage
SELECT idx, make_timestamptz(time_ns // 1000) AS time, source, epoch,
  make_timestamptz(CAST(more ->> 'from_ns' AS BIGINT) // 1000) AS "from",
  make_timestamptz(CAST(more ->> 'to_ns' AS BIGINT) // 1000) AS "to",
  CAST(more ->> 'served' AS BIGINT) AS served, CAST(more ->> 'scored' AS BIGINT) AS scored,
  CAST(more ->> 'unaccounted' AS BIGINT) AS unaccounted, more -> 'unscored' AS unscored
FROM entry WHERE kind = 'coverage'
