"""Write docs/reference/settings.md from the table of settings; `--check` only compares."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from otel_studio._settings_table import ROWS, variable_of  # noqa: E402  (it needs the path)
from otel_studio.config import Settings  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "settings.md"
INTRODUCTION = """\
# Settings

Each setting can be given in three places. The first one that says something counts:

1. a keyword of `configure()`: `studio.configure(log_rate=5)`;
2. an environment variable: `OTEL_STUDIO_LOG_RATE=5`. Where OpenTelemetry has a variable for the
   same thing, that one is it: `OTEL_SERVICE_NAME=media-backend`;
3. the table `[tool.otel_studio]` of the nearest `pyproject.toml` that has one, from the working
   directory upwards: `log_rate = 5`. The keys are the keywords.

A keyword that is unknown or out of range raises a `ConfigurationError`. The environment and the
file never break your program: what cannot be used is logged once, in one sentence, and left out.
In a variable, lists are separated by commas.
"""


def page() -> str:
    """Return the reference page in Markdown."""
    defaults = Settings()
    parts = [INTRODUCTION]
    for group, names in groupby(ROWS, key=lambda name: ROWS[name].group):
        parts.append(f"## {group}\n")
        for name in names:
            row = ROWS[name]
            value = getattr(defaults, name)
            milliseconds = getattr(row.kind, "per_second", 1) == 1_000
            default = f"`{value if milliseconds else row.kind.to_text(value)}`"
            if row.falls_back_to:
                default = f"what `{row.falls_back_to}` says"
            elif default == "``":
                default = "nothing"
            parts.append(
                f"### `{name}`\n\n{row.meaning}\n\n"
                f"- Variable: `{variable_of(name)}`{', in milliseconds' * milliseconds}\n"
                f"- Takes: {row.kind.expected}\n"
                f"- Default: {default}\n"
            )
    return "\n".join(parts)


def main() -> int:
    """Write or check the page."""
    if "--check" not in sys.argv:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        print(f"{PAGE.name} is not current: run python scripts/settings_page.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
