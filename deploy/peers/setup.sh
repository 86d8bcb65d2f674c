#!/bin/sh
# Make .venv-peers: nnsight and TransformerLens, in an environment of their own, for they need other packages than ours.
# Run by `make setup-peers`; PY names the interpreter. Exit 3: it cannot be made here, and why.
set -eu
NAME=peers
. deploy/beside.sh

make_beside 9 "2.8 GB (torch with CUDA's libraries is most of it), 6 GB on disk"
$pip install --no-deps -e . || cannot "our own package could not be installed"
$V/bin/python -c 'import nnsight, transformer_lens' || cannot "nnsight and transformer_lens do not import"
touch $V/.ready
say "done: $($V/bin/python -m pip list --disable-pip-version-check 2>/dev/null | awk '$1 == "nnsight" || $1 == "transformer-lens" || $1 == "torch" {printf "%s %s  ", $1, $2}')"
