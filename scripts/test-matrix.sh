#!/usr/bin/env bash
# Runs the quick tests of the core on the other Pythons found here, and once on the oldest
# OpenTelemetry that pyproject.toml admits. Says in one line which Pythons it did not find.
#
#   scripts/test-matrix.sh [pytest arguments]
#
# Each has an environment of its own below .venv-matrix/, made once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What needs no example service and no server: what runs in every user's process.
core=()
for room in base settings operations spans registry metrics exporters lifecycle testing distro \
    process gpu caches logs; do
    core+=("tests/$room")
done
for library in cachetools diskcache executors functools torch; do
    core+=("instrumentations/$library")
done

find_python() { # VERSION
    local candidate
    for candidate in "python$1" "$HOME/.pyenv/versions/$1".*/bin/python; do
        if command -v "$candidate" >/dev/null &&
            [ "$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$1" ]; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

editable=(--editable .)
for project in instrumentations/*/pyproject.toml; do
    editable+=(--editable "./${project%/*}")
done

run() { # NAME PYTHON REQUIREMENTS
    local folder=".venv-matrix/$1" stamp
    stamp="$folder/.$(cat "$3" pyproject.toml | cksum | cut -d' ' -f1)"
    if [ ! -e "$stamp" ]; then
        rm -rf "$folder"
        "$2" -m venv "$folder"
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
            --require-hashes -r "$3"
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
            --no-build-isolation "${editable[@]}"
        touch "$stamp"
    fi
    "$folder/bin/python" scripts/fetch_sdk_tests.py >/dev/null || true  # their test says so
    echo "== $1: $("$folder/bin/python" -c 'import opentelemetry.version as v, sys; print("Python", sys.version.split()[0], "with OpenTelemetry", v.__version__)')"
    "$folder/bin/python" -m pytest --quiet -m "not slow" \
        --numprocesses 3 --dist loadfile "${core[@]}" "${@:4}"
}

for version in 3.12 3.13 3.14; do
    if python="$(find_python "$version")"; then
        run "$version" "$python" requirements/test.txt "$@"
    else
        echo "skipped: Python $version is not on this machine"
    fi
done
run oldest "$(find_python 3.11 || echo python3)" requirements/oldest.txt "$@"
