#!/bin/sh
# Build Prometheus and promtool from their sources into DIR, .prometheus unless said, for tests and trials: a release
# that takes OTLP, without service discovery and pages. Pinned here; Go's checksum database vouches for the modules.
# Says its size first, keeps what is there. Run by `make setup-prometheus`. Exit 3: it cannot be made here, and why.
set -eu
VERSION=v0.316.0  # of the module; the release is 3.16.0
DIR=${1:-.prometheus}
say() { echo "setup-prometheus: $*"; }
cannot() { say "$*" >&2; exit 3; }

mkdir -p "$DIR"
DIR=$(cd "$DIR" && pwd)
if [ -x "$DIR/prometheus" ] && [ -x "$DIR/promtool" ] && [ "$(cat "$DIR/.ready" 2>/dev/null)" = "$VERSION" ]; then
  say "keeping what is in $DIR"
  exit 0
fi
rm -f "$DIR/.ready"
command -v go > /dev/null || cannot "no Go is here; it takes 1.26 or later"
free=$(df -Pk "$DIR" | awk 'NR==2 {print int($4 / 1048576)}')
say "downloads 0.2 GB of modules (with Go's cache 1.5 GB; $free GB free here), builds for 2 to 5 minutes on two cores"
[ "$free" -ge 3 ] || cannot "not enough disk"
( while sleep 15; do say "… building"; done ) & ticker=$!
trap 'kill $ticker 2>/dev/null || true' EXIT
for program in prometheus promtool; do
  CGO_ENABLED=0 GOBIN="$DIR" go install -tags remove_all_sd -trimpath -ldflags='-s -w' \
    "github.com/prometheus/prometheus/cmd/$program@$VERSION" ||
    cannot "$program could not be built; is a Go module proxy in reach?"
done
echo "$VERSION" > "$DIR/.ready"
say "done: $VERSION in $DIR"
