"""Writes the last benchmark into docs/cost.md, and its ratios into README.md.

python scripts/cost_page.py        after `make bench`
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->"


def main() -> None:
    """Replace what stands between the marks of both pages."""
    measured = (ROOT / "bench/results/latest.md").read_text()
    ratios = measured[measured.index("|") :].partition("\n\n")[0]
    rows = ratios.splitlines()
    # The README says what was measured; whether it keeps its bound stands in the page.
    short = "\n".join("|".join(row.split("|")[:3]) + "|" for row in rows)
    short = short.replace("|---|--:|", "|---|--:|").replace("|  | ratio |", "| work | ratio |")
    _replace(ROOT / "README.md", short)
    _replace(ROOT / "docs/cost.md", measured.strip())


def _replace(page: Path, text: str) -> None:
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    main()
