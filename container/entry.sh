#!/bin/sh
# mercure starts its modules with two folders and no arguments; everybody else wants the gateway.
set -eu
if [ -n "${MERCURE_IN_DIR:-}" ]; then
  exec scanward mercure
fi
exec scanward serve "$@"
