#!/usr/bin/env bash
# Makes a virtual environment with the first Python of 3.11 or newer found: make-venv.sh FOLDER
set -euo pipefail

folder="${1:?usage: make-venv.sh FOLDER}"

fits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

for python in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
    if command -v "$python" >/dev/null && fits "$python"; then
        "$python" -m venv "$folder" && exit 0
        # Half an environment would pass for a whole one at the next try.
        rm -f "$folder/bin/python"
        exit 1
    fi
done
echo "no Python 3.11 or newer found: install one, or name it: make PYTHON=/path/to/python" >&2
exit 1
