#!/bin/sh
# Migrates a PostgreSQL database that is the store of the lock too (ARBITER_STORE=postgres://…). Each
# file runs in a transaction that fails if the lock was lost, so no late migration commits.
set -eu
arbiter run --wait 10m migrate -- sh -euc '
  for file in migrations/*.sql; do
    {
      echo "BEGIN; SELECT arbiter.guard(:'\''name'\'', :fence);"
      cat "$file"
      echo "COMMIT;"
    } | psql "$ARBITER_STORE" -v ON_ERROR_STOP=1 -v name="$ARBITER_NAME" -v fence="$ARBITER_FENCE"
  done
'
