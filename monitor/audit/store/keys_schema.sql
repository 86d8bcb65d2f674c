-- Version 1 of the key store. Deleting a row here is what erasure is; nothing in it is ever rewritten.

CREATE TABLE name (
  kind   TEXT NOT NULL,            -- tenant, user, conversation, request, actor
  tenant BLOB NOT NULL,            -- id of the tenant it belongs to, or empty
  value  TEXT NOT NULL,            -- as the server was told
  id     BLOB NOT NULL UNIQUE,     -- 16 random bytes: what entries have instead
  owner  BLOB,                     -- the subject it leads to: erased with it
  PRIMARY KEY (kind, tenant, value)
) WITHOUT ROWID;
CREATE INDEX name_by_owner ON name (owner) WHERE owner IS NOT NULL;

CREATE TABLE subject_key (
  subject BLOB    NOT NULL,
  month   INTEGER NOT NULL,        -- of the event: 202603
  key     BLOB    NOT NULL,        -- 32 random bytes
  PRIMARY KEY (subject, month)
) WITHOUT ROWID;
CREATE INDEX key_by_month ON subject_key (month);
