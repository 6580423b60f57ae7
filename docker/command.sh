#!/bin/sh
# twinbeam score --input …: python -m pipelines.score --input …
set -eu
step="${1:?which command? preprocess, train, score, evaluate}"
shift
exec python -m "pipelines.$step" "$@"
