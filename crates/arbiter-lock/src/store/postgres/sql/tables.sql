-- The tables of Arbiter's locks. Times are µs (`since`, `seen`, `at`, `granted`,
-- `liveness_cutoff`, `started`, `ended`) or ms (`until`, `…_until`) since 1970, of the primary's
-- clock. Names have the prefix of their keys.
CREATE SCHEMA IF NOT EXISTS {schema};

CREATE TABLE IF NOT EXISTS {schema}.format (version int NOT NULL);

-- One row per name, with the exclusive hold. Every change draws another `revision`.
-- A release or a grant changes `fence`, which belongs to a unique key: it waits for transactions
-- that guard the hold, and a renewal does not.
CREATE TABLE IF NOT EXISTS {schema}.names (
  name text COLLATE "C" PRIMARY KEY,
  revision bigint NOT NULL,
  owner text, fence bigint, since bigint, until bigint,
  channel text, label text, stopping boolean, value text,
  generation bigint, "limit" bigint, sharers bigint, weight bigint,
  waiting bigint NOT NULL, skipped bigint NOT NULL, notes bigint NOT NULL,
  granted bigint, liveness_cutoff bigint, queue_until bigint NOT NULL,
  last_fence bigint NOT NULL, fence_until bigint NOT NULL,
  UNIQUE (name, fence)
) WITH (fillfactor = 50);

-- One row per shared hold.
CREATE TABLE IF NOT EXISTS {schema}.shared (
  name text COLLATE "C" NOT NULL, owner text COLLATE "C" NOT NULL,
  fence bigint NOT NULL, weight bigint NOT NULL, since bigint, until bigint NOT NULL,
  channel text NOT NULL, label text NOT NULL, stopping boolean NOT NULL,
  PRIMARY KEY (name, owner)
);
CREATE INDEX IF NOT EXISTS shared_by_end ON {schema}.shared (name, until, owner);
CREATE INDEX IF NOT EXISTS shared_by_fence ON {schema}.shared (name, fence);

-- One row per waiter. `seen` is its last poll; for a skipped waiter, the time of its ticket.
CREATE TABLE IF NOT EXISTS {schema}.waiters (
  name text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL,
  ticket bigint NOT NULL, seen bigint NOT NULL, skipped boolean NOT NULL,
  weight bigint NOT NULL, "limit" bigint, follows boolean NOT NULL, lease_ms bigint NOT NULL,
  channel text NOT NULL, label text NOT NULL,
  PRIMARY KEY (name, id)
);
CREATE INDEX IF NOT EXISTS waiting ON {schema}.waiters (name, ticket, id) WHERE NOT skipped;
CREATE INDEX IF NOT EXISTS waiting_to_share ON {schema}.waiters (name, ticket, id)
  WHERE NOT skipped AND 0 < weight;
CREATE INDEX IF NOT EXISTS waiters_by_poll ON {schema}.waiters (name, seen);

-- One row per granted marker (0) and tombstone (1).
CREATE TABLE IF NOT EXISTS {schema}.notes (
  name text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL, kind bigint NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (name, id, kind)
);
CREATE INDEX IF NOT EXISTS notes_by_touch ON {schema}.notes (name, at);

-- One row per name with a run, while that is remembered.
CREATE TABLE IF NOT EXISTS {schema}.runs (
  name text COLLATE "C" PRIMARY KEY,
  fence bigint NOT NULL, label text NOT NULL, started bigint NOT NULL,
  ended bigint, outcome text, until bigint NOT NULL,
  turn bigint NOT NULL, memory_ms bigint NOT NULL
);

-- The highest fence that `check` has seen, for locks that are kept elsewhere.
CREATE TABLE IF NOT EXISTS {schema}.fences (
  name text COLLATE "C" PRIMARY KEY,
  fence bigint NOT NULL
);
