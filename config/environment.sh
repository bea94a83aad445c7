#!/bin/sh
# Makes .venv hold the pinned requirements, and does nothing when it does already.
#   sh config/environment.sh run           what `make run` needs: without the embedded database if MONGODB_URI is set
#   sh config/environment.sh database      what `make database` needs
#   sh config/environment.sh development   what the tests and checks need
#   sh config/environment.sh docs          what `make docs` needs
set -eu

python=${PYTHON:-python3}
supported='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'

stop() {
    echo "$1" >&2
    exit 1
}

has_database() {
    [ -n "${PRODFIX_MONGODB_URI:-}${MONGODB_URI:-}" ] || grep -qsE '^[[:space:]]*(export[[:space:]]+)?(PRODFIX_)?MONGODB_URI[[:space:]]*=[[:space:]]*[^[:space:]]' .env
}

# .venv/unfinished is there from the first file of the environment to the last, so that an interrupted run shows.
usable() {
    [ ! -e .venv/unfinished ] && .venv/bin/python -c "$supported" 2>/dev/null
}

# The requirements of $1 with those that they include: what a change of must be seen.
pinned() {
    cat "$1"
    sed -n 's/^-r //p' "$1" | while read -r included; do pinned "$included"; done
}

holds() {
    pinned "$1" | cmp -s - ".venv/$1"
}

make_environment() {
    command -v "$python" >/dev/null || stop "There is no $python: install Python 3.11 to 3.14 (apt-get install python3 python3-venv), or name yours: make PYTHON=python3.12 ..."
    "$python" -c "$supported" || stop "$python is $("$python" --version 2>&1), and Python 3.11 to 3.14 is needed. Name another one: make PYTHON=python3.12 ..."
    "$python" -c "import sys; sys.exit(sys.version_info[:2] >= (3, 14))" || has_database || echo "The embedded database has no wheel for $("$python" --version): set MONGODB_URI, or use Python 3.11 to 3.13"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || stop "$python cannot make virtual environments: run 'apt-get install python3-venv' (as root), then make again"
    echo "Making .venv with $("$python" --version)"
    rm -rf .venv
    mkdir .venv
    touch .venv/unfinished
    "$python" -m venv .venv
    rm .venv/unfinished
}

install_requirements() {
    echo "Installing $1, which takes a minute or two"
    touch .venv/unfinished
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --quiet -r "$1"
    pinned "$1" >".venv/$1"
    rm .venv/unfinished
}

# One at a time: `make database` in a second terminal would take what the first one makes for a broken environment.
if command -v flock >/dev/null; then
    exec 9<requirements.txt
    flock --nonblock 9 || { echo "Waiting for another make in this folder"; flock 9; }
fi

wanted=requirements-dev.txt
case "${1:-development}" in
run)
    wanted=requirements-run.txt
    if has_database; then wanted=requirements.txt; fi
    ;;
database) wanted=requirements-run.txt ;;
docs) wanted=requirements-docs.txt ;;
esac

usable || make_environment
# Each file includes those before it, so that one that includes what is wanted will do. The site's are beside them.
case "$wanted" in
requirements.txt) enough="requirements-dev.txt requirements-run.txt requirements.txt" ;;
requirements-run.txt) enough="requirements-dev.txt requirements-run.txt" ;;
*) enough=$wanted ;;
esac
for file in $enough; do
    if holds "$file"; then exit 0; fi
done
install_requirements "$wanted"
