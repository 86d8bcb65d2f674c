-- What version 3 adds to the dispatcher's own file: alerts can be pruned and erased in the ledger.

-- Deliverable alerts that were pruned before this sink had a cursor, or while its cursor was lost: nobody owes them.
ALTER TABLE sink ADD COLUMN missed INTEGER NOT NULL DEFAULT 0;

-- Positions of erased alerts: what comes of them later (a refusal, a second look) is stored without what is personal.
CREATE TABLE erased (
  seq INTEGER PRIMARY KEY
);
