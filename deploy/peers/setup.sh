#!/bin/sh
# Make .venv-peers: nnsight and TransformerLens, in an environment of their own, for they need other packages than ours.
# Says its size first, keeps what is there, is never silent for long. Run by `make setup-peers`; PY names the
# interpreter. Exit 3: it cannot be made here, and why.
set -eu
PY=${PY:-python3}
V=.venv-peers
say() { echo "setup-peers: $*"; }
cannot() { say "$*" >&2; exit 3; }

case "$(uname -sm)" in "Linux x86_64") ;; *) cannot "the wheels are for Linux on x86_64, this is $(uname -sm)" ;; esac
"$PY" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' ||
  cannot "$PY is $("$PY" -V 2>&1); needs Python 3.11 to 3.13: make setup-peers PY=python3.12"

if [ ! -x $V/bin/python ]; then
  free=$(df -Pk . | awk 'NR==2 {print int($4 / 1048576)}')
  say "downloads about 2.8 GB (torch with CUDA's libraries is most of it), 6 GB on disk ($free GB free here), 2 to 8 minutes"
  [ "$free" -ge 9 ] || cannot "not enough disk"
  "$PY" -m venv $V
else
  say "keeping what is in $V"
fi

( while sleep 5; do say "… $(du -sm $V | cut -f1) MB in place"; done ) & ticker=$!
trap 'kill $ticker 2>/dev/null || true' EXIT
pip="$V/bin/python -m pip --disable-pip-version-check -q"
$pip install --no-deps --only-binary :all: -r deploy/peers/requirements.txt ||
  cannot "packages could not be installed; is a package index in reach?"
$pip install --no-deps -e . || cannot "our own package could not be installed"
$V/bin/python -c 'import nnsight, transformer_lens' || cannot "nnsight and transformer_lens do not import"
touch $V/.ready
say "done: $($V/bin/python -m pip list --disable-pip-version-check 2>/dev/null | awk '$1 == "nnsight" || $1 == "transformer-lens" || $1 == "torch" {printf "%s %s  ", $1, $2}')"
