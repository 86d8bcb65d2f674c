#!/bin/sh
# Put the jars of Apache Kafka (a KRaft broker and controller) into DIR, .kafka unless said, for tests and trials:
# where the embedded broker is no oracle, this one is. Says its size first, keeps what is there, and holds every jar
# against its pinned hash. Run by `make setup-kafka`. Exit 3: it cannot be made here, and why.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
DIR=${1:-.kafka}
say() { echo "setup-kafka: $*"; }
cannot() { say "$*" >&2; exit 3; }
whole() { (cd "$DIR/lib" && sha256sum --quiet --strict -c "$HERE/jars.sha256" > "$DIR/check" 2>&1); }

mkdir -p "$DIR/lib"
DIR=$(cd "$DIR" && pwd)
command -v java > /dev/null || cannot "no Java is here; Kafka needs 17 or later (Debian: openjdk-17-jre-headless)"
if [ -e "$DIR/.ready" ] && whole; then
  say "keeping what is in $DIR"
  exit 0
fi
rm -f "$DIR/.ready"
command -v mvn > /dev/null || cannot "no Maven is here (Debian: maven)"
free=$(df -Pk "$DIR" | awk 'NR==2 {print int($4 / 1024)}')
say "downloads about 80 MB with Maven (43 MB of it jars), half a minute ($free MB free here)"
[ "$free" -ge 200 ] || cannot "not enough disk"
( while sleep 5 >/dev/null 2>&1; do say "… $(du -sm "$DIR" | cut -f1) MB in place"; done ) & ticker=$!
trap 'kill $ticker 2>/dev/null || true' EXIT
rm -f "$DIR"/lib/*.jar
mvn -B -q -f "$HERE/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$DIR/lib" ||
  cannot "the jars could not be fetched; is a Maven repository in reach?"
whole || cannot "jars that are not the pinned ones: $(cat "$DIR/check")"
cp "$HERE/log4j2.properties" "$DIR/"
touch "$DIR/.ready"
say "done: $(ls "$DIR"/lib/kafka_2.13-*.jar | sed 's/.*kafka_2.13-//; s/\.jar//')"
