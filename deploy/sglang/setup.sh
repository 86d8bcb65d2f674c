#!/bin/sh
# Make .venv-sglang: SGLang's own code, in an environment of its own, for it needs another transformers than ours. Its
# kernels for the CPU (`sgl_kernel`) come in no wheel: see tests/contracts/sgl_kernel_stand_in.
# Run by `make setup-sglang`; PY names the interpreter. Exit 3: it cannot be made here, and why.
set -eu
NAME=sglang
. deploy/beside.sh

make_beside 8 "3.2 GB (torch with CUDA's libraries is most of it: PyPI has no other), 6.6 GB on disk"
$pip install --no-deps --no-build-isolation -e . || cannot "our own package could not be installed"
version=$($V/bin/python -c 'from importlib.metadata import version; print(version("sglang"))') ||
  cannot "no sglang is installed in $V"
touch $V/.ready
say "done: sglang $version"
