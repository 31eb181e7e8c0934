-- Writes the changes of steps, for every name that is still at the revision that was read.
--   batch       an object of arrays of objects, whose keys are columns:
--     new         the roots of names that had none
--     keys        the other names, in order
--     expected    for each of them, the revision that was read
--     ends        those of them whose exclusive hold ends
--     names       the roots of those that are changed
--     forgotten   those that go
--     cleared     names without a queue, before `waiters` and `notes` are written
--     left, gone, unnoted   waiters, shared holds and notes that go, if they are there
--     waiters, shared, notes, runs   rows that are written
--     grants      what to notify
--   durable     whether the commit waits for the disk, and for a synchronous standby
-- Returns the names that were written, and those whose hold a transaction guards. The others have
-- changed meanwhile, or are being changed. No statement waits for a lock of another transaction,
-- unless that makes the same new name.
CREATE OR REPLACE FUNCTION {schema}.swap(
  batch jsonb, durable boolean, OUT written text[], OUT guarded text[]
)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
  keys text[] := array(SELECT jsonb_array_elements_text(batch -> 'keys'));
  revisions bigint[] := array(SELECT jsonb_array_elements_text(batch -> 'expected')::bigint);
  ends text[] := array(SELECT jsonb_array_elements_text(batch -> 'ends'));
  free text[];
BEGIN
  IF NOT durable THEN
    PERFORM set_config('synchronous_commit', 'off', true);
  ELSIF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;

  written := '{}';
  guarded := '{}';
  -- In the order of the names. A name that another transaction is inserting is left out.
  IF batch ? 'new' THEN
    WITH inserted AS (
      INSERT INTO {schema}.names
      SELECT * FROM jsonb_populate_recordset(NULL::{schema}.names, batch -> 'new') d
      WHERE pg_try_advisory_xact_lock(hashtextextended({schema_text} || d.name, 1))
      ORDER BY 1
      ON CONFLICT DO NOTHING
      RETURNING name
    )
    SELECT coalesce(array_agg(i.name), '{}') INTO written FROM inserted i;
  END IF;
  IF cardinality(ends) < cardinality(keys) THEN
    written := written || array(
      SELECT n.name
      FROM unnest(keys, revisions) AS d(name, expected)
      JOIN {schema}.names n ON n.name = d.name AND n.revision = d.expected
      WHERE d.name <> ALL(ends)
      ORDER BY n.name
      FOR NO KEY UPDATE OF n SKIP LOCKED);
  END IF;
  IF ends <> '{}' THEN
    free := array(
      SELECT n.name
      FROM unnest(keys, revisions) AS d(name, expected)
      JOIN {schema}.names n ON n.name = d.name AND n.revision = d.expected
      WHERE d.name = ANY(ends)
      ORDER BY n.name
      FOR UPDATE OF n SKIP LOCKED);
    written := written || free;
    IF cardinality(free) < cardinality(ends) THEN
      -- A guard alone leaves this lock to others.
      guarded := array(
        SELECT n.name
        FROM unnest(keys, revisions) AS d(name, expected)
        JOIN {schema}.names n ON n.name = d.name AND n.revision = d.expected
        WHERE d.name = ANY(ends) AND d.name <> ALL(free)
        ORDER BY n.name
        FOR NO KEY UPDATE OF n SKIP LOCKED);
    END IF;
  END IF;
  IF batch ? 'gone' THEN
    WITH free AS MATERIALIZED (
      SELECT s.name, s.owner
      FROM jsonb_to_recordset(batch -> 'gone') AS d(name text, owner text)
      JOIN {schema}.shared s ON s.name = d.name AND s.owner = d.owner
      WHERE d.name = ANY(written)
      FOR UPDATE OF s SKIP LOCKED
    )
    SELECT guarded || coalesce(array_agg(DISTINCT d.name), '{}') INTO guarded
    FROM jsonb_to_recordset(batch -> 'gone') AS d(name text, owner text)
    JOIN {schema}.shared s ON s.name = d.name AND s.owner = d.owner
    WHERE d.name = ANY(written)
      AND NOT EXISTS (SELECT FROM free f WHERE f.name = d.name AND f.owner = d.owner);
  END IF;
  IF guarded <> '{}' THEN
    written := array(SELECT w FROM unnest(written) w WHERE w <> ALL(guarded));
  END IF;

  IF batch ? 'forgotten' THEN
    DELETE FROM {schema}.names n
    USING jsonb_array_elements_text(batch -> 'forgotten') d(name)
    WHERE n.name = d.name AND d.name = ANY(written);
  END IF;
  IF batch ? 'names' THEN
    UPDATE {schema}.names n
    SET revision = d.revision, owner = d.owner, fence = d.fence, since = d.since, until = d.until,
        channel = d.channel, label = d.label, stopping = d.stopping, value = d.value,
        generation = d.generation, "limit" = d."limit", sharers = d.sharers, weight = d.weight,
        waiting = d.waiting, skipped = d.skipped, notes = d.notes, granted = d.granted,
        liveness_cutoff = d.liveness_cutoff, queue_until = d.queue_until,
        last_fence = d.last_fence, fence_until = d.fence_until
    FROM jsonb_populate_recordset(NULL::{schema}.names, batch -> 'names') d
    WHERE n.name = d.name AND d.name = ANY(written);
  END IF;
  IF batch ? 'cleared' THEN
    DELETE FROM {schema}.waiters w USING jsonb_array_elements_text(batch -> 'cleared') d(name)
    WHERE w.name = d.name AND d.name = ANY(written);
    DELETE FROM {schema}.notes w USING jsonb_array_elements_text(batch -> 'cleared') d(name)
    WHERE w.name = d.name AND d.name = ANY(written);
  END IF;
  IF batch ? 'left' THEN
    DELETE FROM {schema}.waiters w
    USING jsonb_to_recordset(batch -> 'left') AS d(name text, id text)
    WHERE w.name = d.name AND w.id = d.id AND d.name = ANY(written);
  END IF;
  IF batch ? 'gone' THEN
    DELETE FROM {schema}.shared s
    USING jsonb_to_recordset(batch -> 'gone') AS d(name text, owner text)
    WHERE s.name = d.name AND s.owner = d.owner AND d.name = ANY(written);
  END IF;
  IF batch ? 'unnoted' THEN
    DELETE FROM {schema}.notes n
    USING jsonb_to_recordset(batch -> 'unnoted') AS d(name text, id text, kind bigint)
    WHERE n.name = d.name AND n.id = d.id AND n.kind = d.kind AND d.name = ANY(written);
  END IF;
  IF batch ? 'waiters' THEN
    INSERT INTO {schema}.waiters AS w
    SELECT * FROM jsonb_populate_recordset(NULL::{schema}.waiters, batch -> 'waiters') d
    WHERE d.name = ANY(written)
    ON CONFLICT (name, id) DO UPDATE
    SET ticket = excluded.ticket, seen = excluded.seen, skipped = excluded.skipped,
        weight = excluded.weight, "limit" = excluded."limit", follows = excluded.follows,
        lease_ms = excluded.lease_ms, channel = excluded.channel, label = excluded.label;
  END IF;
  IF batch ? 'shared' THEN
    INSERT INTO {schema}.shared AS s
    SELECT * FROM jsonb_populate_recordset(NULL::{schema}.shared, batch -> 'shared') d
    WHERE d.name = ANY(written)
    ON CONFLICT (name, owner) DO UPDATE
    SET fence = excluded.fence, weight = excluded.weight, since = excluded.since,
        until = excluded.until, channel = excluded.channel, label = excluded.label,
        stopping = excluded.stopping;
  END IF;
  IF batch ? 'notes' THEN
    INSERT INTO {schema}.notes AS n
    SELECT * FROM jsonb_populate_recordset(NULL::{schema}.notes, batch -> 'notes') d
    WHERE d.name = ANY(written)
    ON CONFLICT (name, id, kind) DO UPDATE SET at = excluded.at;
  END IF;
  IF batch ? 'runs' THEN
    INSERT INTO {schema}.runs AS r
    SELECT * FROM jsonb_populate_recordset(NULL::{schema}.runs, batch -> 'runs') d
    WHERE d.name = ANY(written)
    ON CONFLICT (name) DO UPDATE
    SET fence = excluded.fence, label = excluded.label, started = excluded.started,
        ended = excluded.ended, outcome = excluded.outcome, until = excluded.until,
        turn = excluded.turn, memory_ms = excluded.memory_ms;
  END IF;
  IF batch ? 'grants' THEN
    -- Sessions that notify commit one after another, so others never do.
    PERFORM pg_notify(d.channel, d.payload)
    FROM jsonb_to_recordset(batch -> 'grants') AS d(name text, channel text, payload text)
    WHERE d.name = ANY(written);
  END IF;
END $$;

-- Deletes runs that are not remembered any more.
CREATE OR REPLACE FUNCTION {schema}.forget_runs() RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
  DELETE FROM {schema}.runs r WHERE r.name IN (
    SELECT o.name FROM {schema}.runs o WHERE o.until < {schema}.now_us() / 1000
    LIMIT 64 FOR UPDATE SKIP LOCKED)
$$;
