#!/bin/sh
# Build an OpenTelemetry Collector (OTLP in, a file out) into DIR, .collector unless said, for tests and trials.
# Modules are pinned by go.mod and go.sum. Says its size first, keeps what is there. Run by `make setup-collector`.
# Exit 3: it cannot be made here, and why.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
DIR=${1:-.collector}
say() { echo "setup-collector: $*"; }
cannot() { say "$*" >&2; exit 3; }

mkdir -p "$DIR"
DIR=$(cd "$DIR" && pwd)
made=$(cat "$HERE/main.go" "$HERE/go.mod" "$HERE/go.sum" | sha256sum | cut -d' ' -f1)
if [ -x "$DIR/otel-collector" ] && [ "$(cat "$DIR/.ready" 2>/dev/null)" = "$made" ]; then
  say "keeping what is in $DIR"
  exit 0
fi
rm -f "$DIR/.ready"
command -v go > /dev/null || cannot "no Go is here; it takes 1.26 or later"
free=$(df -Pk "$DIR" | awk 'NR==2 {print int($4 / 1048576)}')
say "downloads 0.1 GB of modules (0.5 GB on disk, with Go's cache 1 GB; $free GB free here), builds for 2 to 4 minutes on two cores"
[ "$free" -ge 2 ] || cannot "not enough disk"
( while sleep 15; do say "… building"; done ) & ticker=$!
trap 'kill $ticker 2>/dev/null || true' EXIT
(cd "$HERE" && CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags='-s -w' -o "$DIR/otel-collector" .) ||
  cannot "it could not be built; is a Go module proxy in reach?"
echo "$made" > "$DIR/.ready"
say "done: $("$DIR/otel-collector" --version)"
