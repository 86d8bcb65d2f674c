# Read by the scripts that make an environment of its own beside .venv, for packages that need others than ours do.
# NAME, which they set first, is that of the folder here and of the environment, `.venv-NAME`; PY names the interpreter.
PY=${PY:-python3}
V=.venv-$NAME
say() { echo "setup-$NAME: $*"; }
cannot() { say "$*" >&2; exit 3; }

# make_beside GB DOWNLOADS: install deploy/NAME/requirements.txt into $V, each file by its hash; $pip installs more.
# Says its size first (GB free are needed), keeps what is there, is never silent for long. Exit 3: why it cannot be made.
make_beside() {
  case "$(uname -sm)" in "Linux x86_64") ;; *) cannot "the wheels are for Linux on x86_64, this is $(uname -sm)" ;; esac
  "$PY" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' ||
    cannot "$PY is $("$PY" -V 2>&1); needs Python 3.11 to 3.13: make setup-$NAME PY=python3.12"
  if [ -x "$V/bin/python" ]; then
    say "keeping what is in $V"
  else
    free=$(df -Pk . | awk 'NR==2 {print int($4 / 1048576)}')
    say "downloads about $2 ($free GB free here), 2 to 8 minutes"
    [ "$free" -ge "$1" ] || cannot "not enough disk"
    "$PY" -m venv "$V"
  fi
  ( while sleep 5 >/dev/null 2>&1; do say "… $(du -sm "$V" | cut -f1) MB in place"; done ) & ticker=$!
  trap 'kill $ticker 2>/dev/null || true' EXIT
  pip="$V/bin/python -m pip --disable-pip-version-check -q"
  $pip install --require-hashes --no-deps --only-binary :all: -r "deploy/$NAME/requirements.txt" ||
    cannot "packages could not be installed; is a package index in reach?"
}
