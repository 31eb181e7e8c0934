-- Fails unless the hold of that name with that fence is in force. As long as the transaction is
-- open, the hold does not end, and no other client is granted the name.
CREATE OR REPLACE FUNCTION {schema}.guard(name text, fence bigint, prefix text DEFAULT 'arbiter:')
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  key text := prefix || replace(guard.name, E'\x01', E'\x01' || '1');
  ends bigint;
BEGIN
  IF current_setting('transaction_read_only')::boolean THEN
    RAISE EXCEPTION 'arbiter.guard needs a transaction that may write, and this one is read-only'
      USING ERRCODE = 'read_only_sql_transaction';
  END IF;
  IF transaction_timestamp() = statement_timestamp() AND current_query() !~ ';\s*\S' THEN
    RAISE EXCEPTION 'arbiter.guard protects the rest of a transaction, and there is none: call it '
                    'after BEGIN, and write before COMMIT'
      USING ERRCODE = 'no_active_sql_transaction';
  END IF;
  SELECT n.until INTO ends FROM {schema}.names n
  WHERE n.name = key AND n.fence = guard.fence FOR KEY SHARE;
  IF NOT FOUND THEN
    SELECT s.until INTO ends FROM {schema}.shared s
    WHERE s.name = key AND s.fence = guard.fence FOR KEY SHARE;
  END IF;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'arbiter.guard: no hold of % has the fence %', quote_literal(guard.name),
                    coalesce(guard.fence::text, 'NULL')
      USING ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = 'It has ended, was handed on or downgraded, or the snapshot of this '
                     'transaction is older than the grant.',
            HINT = 'Roll back: another holder may write by now.';
  END IF;
  IF ends * 1000 + 999 < {schema}.now_us() THEN
    RAISE EXCEPTION 'arbiter.guard: the hold of % with the fence % has expired',
                    quote_literal(guard.name), guard.fence
      USING ERRCODE = 'object_not_in_prerequisite_state',
            DETAIL = 'It was not renewed, or the snapshot of this transaction is older than its '
                     'last renewal.',
            HINT = 'Roll back: another holder may write by now.';
  END IF;
END $$;

CREATE OR REPLACE FUNCTION {schema}.guard(name text, fence text, prefix text DEFAULT 'arbiter:')
RETURNS void
LANGUAGE sql VOLATILE
RETURN {schema}.guard(name, fence::bigint, prefix);

-- Fails if a higher fence of that name was seen: for locks that are kept elsewhere.
CREATE OR REPLACE FUNCTION {schema}."check"(name text, fence bigint) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  INSERT INTO {schema}.fences AS f VALUES ("check".name, "check".fence)
  ON CONFLICT ON CONSTRAINT fences_pkey DO UPDATE SET fence = excluded.fence
  WHERE f.fence <= excluded.fence;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'arbiter.check: the fence % of % is older than one that was seen',
                    "check".fence, quote_literal("check".name)
      USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Roll back: another holder may write by now.';
  END IF;
END $$;

CREATE OR REPLACE FUNCTION {schema}."check"(name text, fence text) RETURNS void
LANGUAGE sql VOLATILE
RETURN {schema}."check"(name, fence::bigint);

-- Names the transactions that guard the holds of a name (with its prefix), or null.
CREATE OR REPLACE FUNCTION {schema}.guards(key text) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  marks xid[];
  mark xid;
  lockers xid[] := '{}';
BEGIN
  -- A row names the transaction that has locked it, also after its end.
  marks := array(
    SELECT n.xmax FROM {schema}.names n
    WHERE n.name = key AND n.fence IS NOT NULL AND n.xmax::text <> '0'
    UNION ALL
    SELECT s.xmax FROM {schema}.shared s WHERE s.name = key AND s.xmax::text <> '0');
  IF marks = '{}' THEN
    RETURN NULL;
  END IF;
  FOREACH mark IN ARRAY marks LOOP
    lockers := lockers || mark;
    BEGIN
      -- Several lockers have a number of their own.
      lockers := lockers || array(SELECT m.xid FROM pg_get_multixact_members(mark) m);
    EXCEPTION WHEN OTHERS THEN
      NULL;
    END;
  END LOOP;
  RETURN (
    SELECT string_agg(DISTINCT format('pid %s (%s%s)', a.pid, pg_get_userbyid(a.usesysid),
                                      ', since ' || to_char(a.xact_start, 'HH24:MI:SS TZ')), ', ')
    FROM pg_locks l, pg_stat_get_activity(l.pid) a
    WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
      AND l.transactionid = ANY(lockers) AND l.pid <> pg_backend_pid()
      -- A number of several lockers may be the id of another transaction, too.
      AND EXISTS (
        SELECT FROM pg_locks r WHERE r.pid = l.pid AND r.mode = 'RowShareLock'
          AND r.relation IN (
            (SELECT n.tableoid FROM {schema}.names n WHERE n.name = key LIMIT 1),
            (SELECT s.tableoid FROM {schema}.shared s WHERE s.name = key LIMIT 1))));
END $$;
