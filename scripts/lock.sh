#!/usr/bin/env bash
# Writes the pinned requirements anew: requirements/{dev,demo,test,oldest}.txt from pyproject.toml and *.in.
#
# One file serves every supported Python: it carries markers and the hashes of all wheels. Versions
# already pinned stay unless they are asked for: scripts/lock.sh --upgrade, or
# --upgrade-package NAME.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "uv==0.13.9"

compile() {
    "$work/venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-emit-index-url --no-emit-find-links "$@"
}

compile --all-extras pyproject.toml requirements/dev.in --no-annotate \
    --output-file requirements/dev.txt "$@"
# The demo's and the tests' pins are dev's, so that one environment can hold all.
sed -e 's/ *\\$//' -e '/^ *--hash/d' requirements/dev.txt >"$work/constraints.txt"
compile --all-extras pyproject.toml requirements/demo.in --constraints "$work/constraints.txt" \
    --no-annotate --output-file requirements/demo.txt
compile --all-extras pyproject.toml requirements/test.in --constraints "$work/constraints.txt" \
    --no-annotate --output-file requirements/test.txt
# The oldest versions are those of what the SDK runs on; the test tools stay dev's.
# But for FastAPI: its newer ones want a newer OpenTelemetry.
cat requirements/build.in requirements/test.in | grep -v '^[#-]\|^opentelemetry\|^fastapi' |
    sed 's/\([a-z-]*\).*/^\1==/' >"$work/test-tools"
grep -f "$work/test-tools" "$work/constraints.txt" >"$work/tool-pins.txt"
compile --all-extras pyproject.toml requirements/test.in --resolution lowest-direct \
    --constraints "$work/tool-pins.txt" --no-annotate --output-file requirements/oldest.txt
