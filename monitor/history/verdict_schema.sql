-- What version 2 adds to the dispatcher's own file: what the second look said of each alert whose rule asks for one.

-- Counted as delivered and dead are: a second look said no.
ALTER TABLE sink ADD COLUMN withheld INTEGER NOT NULL DEFAULT 0;

-- One confirmer's totals, which change in the commit of the verdict that they count. Money is in its own unit.
CREATE TABLE confirmer (
  name       TEXT PRIMARY KEY,
  asked      INTEGER NOT NULL DEFAULT 0,  -- questions put to it, second tries too
  yes        INTEGER NOT NULL DEFAULT 0,
  no         INTEGER NOT NULL DEFAULT 0,
  unanswered INTEGER NOT NULL DEFAULT 0,
  cost       REAL    NOT NULL DEFAULT 0,
  ms         INTEGER NOT NULL DEFAULT 0   -- from the first question to the verdict
) WITHOUT ROWID;

-- An alert has one verdict, for all sinks; a sink that is new goes by it too.
CREATE TABLE verdict (
  seq       INTEGER PRIMARY KEY,
  confirmer TEXT    NOT NULL,
  answer    TEXT    NOT NULL CHECK (answer IN ('yes', 'no', 'unanswered')),
  reason    TEXT    NOT NULL,  -- the confirmer's own, or why there is no answer
  cost      REAL    NOT NULL,
  ms        INTEGER NOT NULL,
  asked     INTEGER NOT NULL,
  at_ns     INTEGER NOT NULL
);
