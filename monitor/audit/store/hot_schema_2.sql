-- From version 1 to 2: beside the sealed files stands not only what reviewers said, but all that there is little of.

ALTER TABLE sealed_label RENAME TO sealed_few;
CREATE INDEX few_by_kind  ON sealed_few (kind, time_ns);
CREATE INDEX few_by_about ON sealed_few (about) WHERE about IS NOT NULL;
CREATE INDEX entry_by_kind ON entry (kind, time_ns);
ALTER TABLE segment ADD COLUMN few INTEGER NOT NULL DEFAULT 0;
