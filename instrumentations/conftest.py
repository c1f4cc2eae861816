"""Lets every package here be tested from the project's root, installed or not."""

from __future__ import annotations

import sys
from pathlib import Path

for source in sorted(Path(__file__).parent.glob("*/src")):
    if str(source) not in sys.path:
        sys.path.append(str(source))
