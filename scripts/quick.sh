#!/usr/bin/env bash
# Runs the tests and the lint of one room, or a fast pass over the rooms: what to run at each change.
#
#   scripts/quick.sh registry [pytest arguments]     a room, or a package of instrumentations/
#   scripts/quick.sh ""       [pytest arguments]     every room, without what starts programs or takes long
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin="${VENV:-.venv}/bin"
room="${1-}"
shift || true

rooms=()
for folder in tests/*/; do
    name="$(basename "$folder")"
    [ "$name" = support ] || rooms+=("$name")
done

sources=()
tests=()
case "$room" in
"")
    sources=(otel_studio)
    for folder in otel_studio/*/; do
        name="$(basename "$folder")"
        if [ -d "tests/$name" ]; then tests+=("tests/$name"); fi
    done
    set -- -m "not patient and not slow and not prove" --hypothesis-profile=quick "$@"
    ;;
assembly) # What it builds is seen at the start, at a fork and at the end.
    sources=(otel_studio/assembly otel_studio/lifecycle.py)
    tests=(tests/lifecycle)
    ;;
*)
    for folder in "otel_studio/$room" "instrumentations/$room"; do
        if [ -d "$folder" ]; then sources+=("$folder"); fi
    done
    for folder in "tests/$room" "instrumentations/$room"; do
        if [ -d "$folder" ]; then tests+=("$folder"); fi
    done
    if [ ${#tests[@]} -eq 0 ] || [[ ! $room =~ ^[a-z]+$ ]] || [ "$room" = support ]; then
        packages="$(cd instrumentations && echo */)"
        echo "there are no tests of '$room'; ROOM is one of: assembly ${rooms[*]}, or a package:" \
            "${packages//\//}" >&2
        exit 2
    fi
    ;;
esac

"$bin/ruff" check --quiet "${sources[@]}" "${tests[@]}"
"$bin/ruff" format --quiet --check "${sources[@]}" "${tests[@]}"
exec "$bin/python" -m pytest --quiet --numprocesses 3 --dist loadfile \
    "${tests[@]}" "$@"
