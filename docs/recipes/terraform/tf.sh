#!/bin/sh
# Runs terraform alone for this folder: tf.sh apply. For state backends that have no lock of their own.
# If the lock is held, it prints the holder and exits with 75. If the lock is lost, terraform gets
# TERM and 50 seconds to write its state.
set -eu
exec arbiter run -n --lease 2m --grace 50s --label "terraform $*, by ${USER:-unknown}" \
  "terraform:$(basename "$PWD")" -- terraform "$@"
