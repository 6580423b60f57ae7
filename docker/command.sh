#!/bin/sh
# docker run IMAGE score --input …: twinbeam score --input …
set -eu
exec python -m twinbeam "$@"
