#!/bin/sh
# A bill of materials (CycloneDX 1.6, JSON) of what the sidecar's and history's images install from the package index:
# each in an environment of its own, as pip resolves it today on this machine, listed by cyclonedx-bom, validated.
# Not in it: Python itself and the base image, which a scanner of the built image lists. Run by `make sbom`, into .sbom.
set -eu
PY=${PY:-.venv/bin/python}
OUT=${1:-.sbom}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
say() { echo "sbom: $*"; }
mkdir -p "$OUT"
say "installs what the sidecar (134 MB) and history (about 400 MB) need into a temporary folder, a few minutes"
"$PY" -m pip wheel --disable-pip-version-check -q --no-deps --wheel-dir "$WORK/wheel" .
for name in sidecar history; do
  extras=sidecar
  [ "$name" = sidecar ] || extras=sidecar,history
  "$PY" -m venv --without-pip "$WORK/$name"
  "$PY" -m pip --python "$WORK/$name/bin/python" install --disable-pip-version-check -q "$(ls "$WORK"/wheel/*.whl)[$extras]" ||
    { say "$name cannot be installed; is a package index in reach?" >&2; exit 3; }
  "$PY" -m cyclonedx_py environment --pyproject pyproject.toml --mc-type application \
    --output-reproducible --spec-version 1.6 --output-file "$OUT/$name.cdx.json" "$WORK/$name/bin/python"
  say "$OUT/$name.cdx.json: $("$PY" -c 'import json,sys; print(len(json.load(open(sys.argv[1]))["components"]))' "$OUT/$name.cdx.json") packages"
done
