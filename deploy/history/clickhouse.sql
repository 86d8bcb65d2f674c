-- History in ClickHouse (24 or later): the sealed entries, and the decisions of the last hours off Kafka.
-- Run it once: clickhouse-client --multiquery < clickhouse.sql

CREATE DATABASE dosimeter;

-- The columns of monitor/audit/store/columns.py after the position in the log. The same row twice becomes one.
CREATE TABLE dosimeter.entry (
  idx             Int64,
  id              FixedString(16),
  kind            String,
  time_ns         Int64,
  ingested_ns     Int64,
  source          Nullable(String),
  seq             Nullable(Int64),
  tenant          Nullable(FixedString(16)),
  subject         Nullable(FixedString(16)),
  conversation    Nullable(FixedString(16)),
  route           Nullable(String),
  epoch           Nullable(String),
  key             Nullable(String),
  decision        Nullable(String),
  reason          Nullable(String),
  would_act       Nullable(Int64),
  clause          Nullable(Int64),
  span_start      Nullable(Int64),
  span_end        Nullable(Int64),
  position        Nullable(Int64),
  value_sum       Nullable(Int64),
  value_n         Nullable(Int64),
  tokens_scored   Nullable(Int64),
  tokens_unscored Nullable(Int64),
  terms           Nullable(FixedString(32)),
  evidence        Nullable(FixedString(32)),
  rule            Nullable(String),
  feature         Nullable(String),
  status          Nullable(String),
  severity        Nullable(String),
  scope           Nullable(String),
  shape           Nullable(String),
  level           Nullable(String),
  model           Nullable(String),
  threshold_code  Nullable(Int64),
  about           Nullable(FixedString(16)),
  actor           Nullable(String),
  verdict         Nullable(String),
  more            Nullable(String)
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(toDateTime64(intDiv(time_ns, 1000000000), 0, 'UTC'))
ORDER BY (time_ns, idx);

-- From history's folder, again and again, by the sealed files themselves (FINAL, or OPTIMIZE, drops what came twice):
--   INSERT INTO dosimeter.entry SELECT * FROM file('core/*.parquet', 'Parquet')

-- What a sidecar ships to the topic, as it comes. It has no position in the log, and tenant, user and conversation in
-- clear text, which are left where they are: only what follows is read.
CREATE TABLE dosimeter.topic (raw String) ENGINE = Kafka
SETTINGS kafka_broker_list = 'kafka:9092', kafka_topic_list = 'dosimeter.history',
  kafka_group_name = 'dosimeter-clickhouse', kafka_format = 'RawBLOB';

CREATE TABLE dosimeter.recent (
  id             FixedString(16),
  kind           LowCardinality(String),
  time_ns        Int64,
  source         LowCardinality(String),
  seq            Int64,
  decision       LowCardinality(String),
  rule           LowCardinality(String),
  feature        LowCardinality(String),
  status         LowCardinality(String),
  severity       LowCardinality(String),
  value_sum      Int64,
  value_n        Int64,
  threshold_code Int64
) ENGINE = ReplacingMergeTree
ORDER BY (time_ns, id)
TTL toDateTime(intDiv(time_ns, 1000000000)) + INTERVAL 3 DAY;

CREATE MATERIALIZED VIEW dosimeter.reads_topic TO dosimeter.recent AS
WITH JSONExtractString(raw, 'core') AS core
SELECT
  unhex(JSONExtractString(core, 'event_id'))  AS id,
  JSONExtractString(core, 'kind')             AS kind,
  JSONExtractInt(core, 'time_ns')             AS time_ns,
  JSONExtractString(raw, 'source')            AS source,
  JSONExtractInt(raw, 'seq')                  AS seq,
  JSONExtractString(core, 'decision')         AS decision,
  JSONExtractString(core, 'rule')             AS rule,
  JSONExtractString(core, 'feature')          AS feature,
  JSONExtractString(core, 'status')           AS status,
  JSONExtractString(core, 'severity')         AS severity,
  JSONExtractInt(core, 'value_sum')           AS value_sum,
  JSONExtractInt(core, 'value_n')             AS value_n,
  JSONExtractInt(core, 'threshold_code')      AS threshold_code
FROM dosimeter.topic
WHERE JSONExtractString(raw, 'kind') = 'alert' AND match(JSONExtractString(core, 'event_id'), '^[0-9a-f]{32}$');
