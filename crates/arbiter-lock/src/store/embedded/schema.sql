-- The rows of the embedded store. Times are µs (`since`, `seen`, `at`, `granted`, `floor`) or
-- ms (`until`, `…_until`) of the store's own clock, which starts with the wall clock and then
-- counts with the time since boot. `floor` is the liveness cutoff.
CREATE TABLE clock (
  boot TEXT NOT NULL,          -- the boot that the clock counts from
  start_us INTEGER NOT NULL,   -- what it showed at that boot's beginning
  forgotten_us INTEGER NOT NULL -- no fence of a forgotten name is above this
);

-- One row per name, with the exclusive hold.
CREATE TABLE names (
  name TEXT PRIMARY KEY,
  owner TEXT, fence INTEGER, since INTEGER, until INTEGER,
  channel TEXT, label TEXT, stopping INTEGER, value TEXT,
  generation INTEGER, "limit" INTEGER, sharers INTEGER, weight INTEGER,
  waiting INTEGER NOT NULL, passed_over INTEGER NOT NULL, notes INTEGER NOT NULL,
  granted INTEGER, floor INTEGER, queue_until INTEGER NOT NULL,
  last_fence INTEGER NOT NULL, fence_until INTEGER NOT NULL
) WITHOUT ROWID;

-- One row per shared hold.
CREATE TABLE shared (
  name TEXT NOT NULL, owner TEXT NOT NULL,
  fence INTEGER NOT NULL, weight INTEGER NOT NULL, since INTEGER, until INTEGER NOT NULL,
  channel TEXT NOT NULL, label TEXT NOT NULL, stopping INTEGER NOT NULL,
  PRIMARY KEY (name, owner)
) WITHOUT ROWID;
CREATE INDEX shared_by_end ON shared (name, until, owner);
CREATE INDEX shared_by_fence ON shared (name, fence);
CREATE INDEX shared_by_process ON shared (name, channel);

-- One row per waiter. `seen` is its last poll; for a skipped waiter (`passed_over`), the time of
-- its ticket. A poll changes `seen` alone, and so one index.
CREATE TABLE waiters (
  name TEXT NOT NULL, id TEXT NOT NULL,
  ticket INTEGER NOT NULL, seen INTEGER NOT NULL, passed_over INTEGER NOT NULL,
  weight INTEGER NOT NULL, "limit" INTEGER, follows INTEGER NOT NULL, lease_ms INTEGER NOT NULL,
  channel TEXT NOT NULL, label TEXT NOT NULL,
  PRIMARY KEY (name, id)
) WITHOUT ROWID;
CREATE INDEX waiting ON waiters (name, ticket, id) WHERE passed_over = 0;
CREATE INDEX waiting_to_share ON waiters (name, ticket, id) WHERE passed_over = 0 AND weight > 0;
CREATE INDEX waiters_by_look ON waiters (name, seen);

-- One row per granted marker (0) and tombstone (1).
CREATE TABLE notes (
  name TEXT NOT NULL, id TEXT NOT NULL, kind INTEGER NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (name, id, kind)
) WITHOUT ROWID;
CREATE INDEX notes_by_touch ON notes (name, at);

-- One row per name with a run, while that is remembered.
CREATE TABLE runs (
  name TEXT PRIMARY KEY,
  fence INTEGER NOT NULL, label TEXT NOT NULL, started INTEGER NOT NULL,
  ended INTEGER, outcome TEXT, until INTEGER NOT NULL,
  turn INTEGER NOT NULL, memory_ms INTEGER NOT NULL
) WITHOUT ROWID;
