-- The time in µs.
CREATE OR REPLACE FUNCTION {schema}.now_us() RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

-- The rows of a name besides its root: all of them, or those that most requests need, if there are
-- more than a window has.
--   key         the name, with its prefix
--   ids         the requests that are sent, whose rows are always needed
--   fences      the fences that are asked for
--   own         the channel of the caller, whose listener is not looked for
--   heads       how many of the first waiters are needed
--   whole       whether everything is needed
-- Returns an object:
--   waiters     rows, in the order of the columns, without the name
--   places      [ticket, id] of the first waiters that were not skipped; null if `waiters` has all
--   all_places  whether `places` has all of those
--   shared      rows; `all_shared` is whether these are all
--   ends        how many of the first and of the last shared holds to end are read of more
--   notes       rows; `all_notes` is whether these are all
--   old         whether there is anything to forget
--   more_old    whether some of that was not read
--   unheard     channels without a listener
--   run         the last run; `has_run` is whether it was read
CREATE OR REPLACE FUNCTION {schema}.load_rows(
  key text, root {schema}.names, now_us bigint, ids text[], fences bigint[], own text, heads int,
  whole boolean, wants_run boolean
) RETURNS json
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
  all_waiters boolean := whole OR coalesce(root.waiting + root.skipped, 0) <= {waiters};
  all_shared boolean := whole OR coalesce(root.sharers, 0) <= {shared};
  all_notes boolean := whole OR coalesce(root.notes, 0) <= {notes};
  oldest bigint := now_us - 60000000;
  found_waiters {schema}.waiters[] := '{}';
  found_shared {schema}.shared[] := '{}';
  found_notes {schema}.notes[] := '{}';
  noted text[];
  places json;
  unheard text[];
  run json;
  old bigint := 0;
  old_notes bigint := 0;
  more_old boolean := false;
BEGIN
  IF 0 < root.waiting + root.skipped THEN
    IF all_waiters THEN
      found_waiters := array(SELECT w FROM {schema}.waiters w WHERE w.name = key);
    ELSE
      found_waiters := array(
        (SELECT w FROM {schema}.waiters w WHERE w.name = key AND NOT w.skipped
         ORDER BY w.ticket, w.id LIMIT heads)
        UNION
        SELECT w FROM {schema}.waiters w WHERE w.name = key AND w.id = ANY(ids)
        UNION
        (SELECT w FROM {schema}.waiters w WHERE w.name = key AND NOT w.skipped
         ORDER BY w.ticket DESC, w.id DESC LIMIT 1)
        UNION
        (SELECT w FROM {schema}.waiters w WHERE w.name = key AND NOT w.skipped AND 0 < w.weight
         ORDER BY w.ticket, w.id LIMIT 1)
        UNION
        (SELECT w FROM {schema}.waiters w WHERE w.name = key AND w.seen < oldest
         ORDER BY w.seen LIMIT {old}));
      places := (
        SELECT coalesce(json_agg(json_build_array(p.ticket, p.id)), '[]')
        FROM (SELECT w.ticket, w.id FROM {schema}.waiters w
              WHERE w.name = key AND NOT w.skipped ORDER BY w.ticket, w.id LIMIT {places}) p);
    END IF;
    old := (SELECT count(*) FROM (SELECT FROM {schema}.waiters w
                                  WHERE w.name = key AND w.seen < oldest LIMIT {old} + 1) o);
    more_old := NOT all_waiters AND {old} < old;
    -- A listener holds this lock. It is held for a moment only, if there is none.
    unheard := array(
      SELECT c.channel
      FROM (SELECT DISTINCT w.channel FROM unnest(found_waiters) w
            WHERE w.channel <> own AND starts_with(w.channel, 'arbiter.wake:')) c
      WHERE pg_try_advisory_xact_lock_shared(hashtextextended(c.channel, 0)));
  END IF;
  IF 0 < root.notes THEN
    noted := ids || array(SELECT w.id FROM unnest(found_waiters) w);
    IF all_notes THEN
      found_notes := array(SELECT n FROM {schema}.notes n WHERE n.name = key);
    ELSE
      found_notes := array(
        SELECT n FROM {schema}.notes n WHERE n.name = key AND n.id = ANY(noted)
        UNION
        (SELECT n FROM {schema}.notes n WHERE n.name = key AND n.at < oldest
         ORDER BY n.at LIMIT {old}));
    END IF;
    old_notes := (SELECT count(*) FROM (SELECT FROM {schema}.notes n
                                        WHERE n.name = key AND n.at < oldest LIMIT {old} + 1) o);
    more_old := more_old OR (NOT all_notes AND {old} < old_notes);
  END IF;
  IF root.sharers IS NOT NULL THEN
    IF all_shared THEN
      found_shared := array(SELECT s FROM {schema}.shared s WHERE s.name = key);
    ELSE
      found_shared := array(
        SELECT s FROM {schema}.shared s WHERE s.name = key AND s.owner = ANY(ids)
        UNION
        SELECT s FROM {schema}.shared s WHERE s.name = key AND s.fence = ANY(fences)
        UNION
        (SELECT s FROM {schema}.shared s WHERE s.name = key ORDER BY s.until, s.owner LIMIT {ends})
        UNION
        (SELECT s FROM {schema}.shared s WHERE s.name = key
         ORDER BY s.until DESC, s.owner DESC LIMIT {ends}));
    END IF;
  END IF;
  IF wants_run THEN
    run := (SELECT json_build_array(r.fence, r.label, r.started, r.ended, r.outcome, r.until,
                                   r.turn, r.memory_ms)
            FROM {schema}.runs r WHERE r.name = key);
  END IF;
  RETURN json_build_object(
    'waiters', (
      SELECT json_agg(json_build_array(w.id, w.ticket, w.seen, w.skipped, w.weight, w."limit",
                                       w.follows, w.lease_ms, w.channel, w.label))
      FROM unnest(found_waiters) w),
    'places', places,
    'all_places', coalesce(root.waiting, 0) <= {places},
    'shared', (
      SELECT json_agg(json_build_array(s.owner, s.fence, s.weight, s.since, s.until, s.channel,
                                       s.label, s.stopping))
      FROM unnest(found_shared) s),
    'all_shared', all_shared,
    'ends', {ends},
    'notes', (
      SELECT json_agg(json_build_array(n.id, n.kind, n.at)) FROM unnest(found_notes) n),
    'all_notes', all_notes,
    'old', 0 < old + old_notes,
    'more_old', more_old,
    'unheard', unheard,
    'run', run,
    'has_run', wants_run);
END $$;

-- Reads names, as one snapshot that locks nothing.
--   batch       [[name, ids, fences, own channel, heads, whole, wants run], …]
-- Returns for each, in order: [time in µs, root or null, other rows or null].
CREATE OR REPLACE FUNCTION {schema}.load(batch jsonb) RETURNS SETOF text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
BEGIN
  RETURN QUERY
  SELECT json_build_array(
    i.now_us,
    CASE WHEN n.name IS NOT NULL THEN json_build_array(
      n.owner, n.fence, n.since, n.until, n.channel, n.label, n.stopping, n.value,
      n.generation, n."limit", n.sharers, n.weight, n.waiting, n.skipped, n.notes,
      n.granted, n.liveness_cutoff, n.queue_until, n.last_fence, n.fence_until, n.revision) END,
    CASE WHEN n.sharers IS NOT NULL OR 0 < n.waiting + n.skipped + n.notes
           OR (i.item ->> 6)::boolean
    THEN {schema}.load_rows(
      i.key, n, i.now_us,
      array(SELECT jsonb_array_elements_text(i.item -> 1)),
      array(SELECT jsonb_array_elements(i.item -> 2)::bigint),
      i.item ->> 3, (i.item ->> 4)::int, (i.item ->> 5)::boolean, (i.item ->> 6)::boolean) END
  )::text
  FROM (SELECT e.item, e.item ->> 0 AS key, {schema}.now_us() AS now_us, e.place
        FROM jsonb_array_elements(batch) WITH ORDINALITY e(item, place)
        OFFSET 0) i
  LEFT JOIN {schema}.names n ON n.name = i.key
  ORDER BY i.place;
END $$;

-- Some names that nothing remembers any more, perhaps, and the last name that was looked at, if
-- there are more.
CREATE OR REPLACE FUNCTION {schema}.old_names(behind text, OUT names text[], OUT last text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
  now_ms bigint := {schema}.now_us() / 1000;
BEGIN
  SELECT array_agg(p.name ORDER BY p.name) FILTER (WHERE p.is_old),
         CASE WHEN count(*) = 1000 THEN max(p.name) END
  INTO names, last
  FROM (SELECT n.name, n.fence_until < now_ms AND n.queue_until < now_ms
                       AND coalesce(n.until, 0) < now_ms AS is_old
        FROM {schema}.names n WHERE behind < n.name ORDER BY n.name LIMIT 1000) p;
  names := coalesce(names[1:64], '{}');
  -- The others come next.
  IF array_length(names, 1) = 64 THEN
    last := names[64];
  END IF;
END $$;
