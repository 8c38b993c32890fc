#!/bin/sh
# Make the virtual environment: setup.sh PYTHON VENV. Called by make.
set -eu
python=$1
venv=$2

fail() { echo "error: $1" >&2; exit 2; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "$python is not Python 3.11 or newer; run make with PYTHON=/path/to/python3.11"

# Open3D and OpenCV load these libraries; slim machines lack them.
libraries="libusb-1.0-0 libgl1 libegl1 libx11-6 libgomp1"
missing=
if command -v dpkg-query >/dev/null 2>&1; then
    for library in $libraries; do
        dpkg-query -W -f '${Status}' "$library" 2>/dev/null | grep -q 'install ok installed' ||
            missing="$missing $library"
    done
fi
if [ -n "$missing" ]; then
    command="apt-get update && apt-get install -y --no-install-recommends$missing"
    if [ "$(id -u)" = 0 ]; then
        echo "installing system libraries:$missing"
        (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            --no-install-recommends $missing) >/dev/null || fail "run this yourself: $command"
    else
        fail "Open3D needs system libraries; run: sudo sh -c '$command'"
    fi
fi

# An environment that does not start, or that lies elsewhere than where it was made, is made anew.
made_for=$(sed -n '1s/^#!\(.*\)\/[^/]*$/\1/p' "$venv/bin/pip" 2>/dev/null || true)
lies_in=$(cd "$venv/bin" 2>/dev/null && pwd || true)
if [ -z "$lies_in" ] || [ "$made_for" != "$lies_in" ] || ! "$venv/bin/python" -c '' 2>/dev/null; then
    rm -rf "$venv"
    "$python" -m venv "$venv" || fail "$python cannot make $venv; install its venv package"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint constraints.txt --editable '.[dev]'
