-- History's sealed entries in PostgreSQL (15 or later): a copy for questions, never the truth.
-- Run it once, as the user that shall own the tables: psql -v ON_ERROR_STOP=1 -d DATABASE -f postgres.sql

BEGIN;

DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'dosimeter_reader') THEN
    CREATE ROLE dosimeter_reader NOLOGIN;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'dosimeter_loader') THEN
    CREATE ROLE dosimeter_loader NOLOGIN;
  END IF;
END $$;

CREATE SCHEMA dosimeter;
SET LOCAL search_path = dosimeter;

-- The columns of monitor/audit/store/columns.py after the position in the log. Texts sort by their bytes, as they do there.
CREATE TABLE entry (
  idx             bigint NOT NULL CHECK (idx >= 0),
  id              bytea  NOT NULL,
  kind            text   COLLATE "C" NOT NULL,
  time_ns         bigint NOT NULL,
  ingested_ns     bigint NOT NULL,
  source          text   COLLATE "C",
  seq             bigint,
  tenant          bytea,
  subject         bytea,
  conversation    bytea,
  route           text   COLLATE "C",
  epoch           text   COLLATE "C",
  key             text   COLLATE "C",
  decision        text   COLLATE "C",
  reason          text   COLLATE "C",
  would_act       bigint,
  clause          bigint,
  span_start      bigint,
  span_end        bigint,
  position        bigint,
  value_sum       bigint,
  value_n         bigint,
  tokens_scored   bigint,
  tokens_unscored bigint,
  terms           bytea,
  evidence        bytea,
  rule            text   COLLATE "C",
  feature         text   COLLATE "C",
  status          text   COLLATE "C",
  severity        text   COLLATE "C",
  scope           text   COLLATE "C",
  shape           text   COLLATE "C",
  level           text   COLLATE "C",
  model           text   COLLATE "C",
  threshold_code  bigint,
  about           bytea,
  actor           text   COLLATE "C",
  verdict         text   COLLATE "C",
  more            text   COLLATE "C",
  PRIMARY KEY (idx, time_ns)  -- a partitioned table cannot have idx alone
) PARTITION BY RANGE (time_ns);

CREATE INDEX entry_by_id      ON entry (id);
CREATE INDEX entry_by_time    ON entry (time_ns, idx);
CREATE INDEX entry_by_tenant  ON entry (tenant, time_ns)  WHERE tenant IS NOT NULL;
CREATE INDEX entry_by_subject ON entry (subject)          WHERE subject IS NOT NULL;
CREATE INDEX entry_by_rule    ON entry (rule, time_ns)    WHERE rule IS NOT NULL;
CREATE INDEX entry_by_feature ON entry (feature, time_ns) WHERE feature IS NOT NULL;
CREATE INDEX entry_by_about   ON entry (about)            WHERE about IS NOT NULL;

-- What was loaded: the sealed range [first, past), and the hash of its Parquet file.
CREATE TABLE segment (
  first       bigint PRIMARY KEY,
  past        bigint NOT NULL UNIQUE CHECK (past > first),
  core_sha256 text   NOT NULL,
  loaded_at   timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'an entry is never rewritten: % of %', TG_OP, TG_TABLE_NAME
    USING HINT = 'drop the partition of a month whose time is over', ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER entry_is_immutable BEFORE UPDATE OR DELETE ON entry FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TRIGGER entry_stays BEFORE TRUNCATE ON entry FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER segment_is_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON segment
  FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- One partition a month of UTC, and one for what a wrong clock has dated elsewhere.
CREATE TABLE entry_elsewhere PARTITION OF entry DEFAULT;
CREATE TRIGGER entry_stays BEFORE TRUNCATE ON entry_elsewhere FOR EACH STATEMENT EXECUTE FUNCTION refuse();

CREATE FUNCTION make_month(ns bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dosimeter, pg_temp AS $$
DECLARE
  low  timestamp := date_trunc('month', to_timestamp(ns / 1000000000) AT TIME ZONE 'UTC');
  name text      := 'entry_' || to_char(low, 'YYYY_MM');
BEGIN
  IF low < '2020-01-01' OR low >= '2100-01-01' OR to_regclass('dosimeter.' || name) IS NOT NULL THEN
    RETURN;
  END IF;
  EXECUTE format(
    'CREATE TABLE %I PARTITION OF entry FOR VALUES FROM (%s) TO (%s)', name,
    extract(epoch FROM low)::bigint * 1000000000,
    extract(epoch FROM low + interval '1 month')::bigint * 1000000000);
  EXECUTE format(
    'CREATE TRIGGER entry_stays BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse()', name);
END $$;

-- What the named queries of monitor/audit/queries/queries.sql read.
CREATE VIEW label AS SELECT * FROM entry WHERE kind = 'label' AND about IS NOT NULL;
CREATE VIEW judged AS
SELECT about, verdict, actor, idx, disagreed FROM (
  SELECT about, verdict, actor, idx,
    row_number() OVER (PARTITION BY about ORDER BY idx DESC) AS place,
    CAST(min(verdict) OVER (PARTITION BY about) <> max(verdict) OVER (PARTITION BY about) AS INTEGER) AS disagreed
  FROM (
    SELECT about, verdict, actor, idx, row_number() OVER (PARTITION BY about, actor ORDER BY idx DESC) AS word
    FROM label WHERE verdict IS NOT NULL
  ) AS words WHERE word = 1
) AS places WHERE place = 1;

REVOKE ALL ON SCHEMA dosimeter FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA dosimeter FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA dosimeter FROM PUBLIC;
GRANT USAGE ON SCHEMA dosimeter TO dosimeter_reader, dosimeter_loader;
GRANT SELECT ON entry, label, judged, segment TO dosimeter_reader, dosimeter_loader;
GRANT INSERT ON entry, segment TO dosimeter_loader;
GRANT EXECUTE ON FUNCTION make_month TO dosimeter_loader;

COMMIT;
