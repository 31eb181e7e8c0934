#!/bin/sh
# Migrates the database, then serves. Every replica starts with this: one migrates, the others wait
# and find nothing to do.
set -eu
arbiter run --wait 10m --label "$(hostname)" "migrate:${DATABASE:-app}" -- migrate up
exec serve
