"""Writes the last benchmarks into docs/cost.md, and the ratios of operations into README.md.

python scripts/cost_page.py        after `make bench`, `make bench-service` or both
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OPERATIONS, SERVICE = ROOT / "bench/results/latest.md", ROOT / "bench/results/service.md"


def main() -> None:
    """Replace what stands between the marks of both pages."""
    if OPERATIONS.exists():
        _write_operations(OPERATIONS.read_text())
    if SERVICE.exists():
        _replace(ROOT / "docs/cost.md", "service", SERVICE.read_text().strip())


def _write_operations(measured: str) -> None:
    ratios = measured[measured.index("|") :].partition("\n\n")[0]
    rows = ratios.splitlines()
    # The README says what was measured; whether it keeps its bound stands in the page.
    short = "\n".join("|".join(row.split("|")[:3]) + "|" for row in rows)
    short = short.replace("|---|--:|", "|---|--:|").replace("|  | ratio |", "| work | ratio |")
    _replace(ROOT / "README.md", "measured", short)
    _replace(ROOT / "docs/cost.md", "measured", measured.strip())


def _replace(page: Path, mark: str, text: str) -> None:
    begin, end = f"<!-- {mark}: begin -->\n", f"<!-- {mark}: end -->"
    before, _, rest = page.read_text().partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{text}\n\n{end}{after}")


if __name__ == "__main__":
    main()
