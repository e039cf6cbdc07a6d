#!/usr/bin/env bash
# Makes .venv from the lock file: `set-up.sh requirements.lock`. Does nothing when it is there already.
set -euo pipefail
lock=${1:-requirements.lock}
stamp=.venv/.from-$(basename "$lock")
[ "$lock" = requirements.lock ] && [ -e .venv/.from-requirements-dev.lock ] && cmp -s requirements-dev.lock .venv/.from-requirements-dev.lock && exit 0
[ -e "$stamp" ] && cmp -s "$lock" "$stamp" && exit 0

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "error: Python 3.11 or newer is needed; name it with PYTHON=python3.11" >&2
    exit 1
fi
echo "Making .venv from $lock, once ..." >&2
# A folder left behind by an attempt without pip is made anew.
if ! .venv/bin/python -m pip --version >/dev/null 2>&1 && ! "$python" -m venv --clear .venv; then
    echo "error: no virtual environment could be made; on Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 1
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r "$lock"
cp "$lock" "$stamp"
