"""Measures what observing costs a service as a whole, and prints the table as Markdown.

    python -m bench.service            five minutes; makes the services' environment once
    python -m bench.service --quick    a first impression, under a minute

Writes `bench/results/service.md` and `service.json` (all values).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
from pathlib import Path

from bench import report
from bench.environments import Unavailable, python_for
from bench.service import measure
from bench.service.subjects import SUBJECTS

_RESULTS = Path(__file__).parents[1] / "results"


def markdown(results: measure.Results, what: str) -> str:
    """Return the table.

    Args:
        results: what was measured.
        what: a line on the machine and the effort.
    """
    rows = []
    for subject in SUBJECTS:
        seconds = results.seconds.get(subject.name)
        if not seconds:
            continue
        ratios = results.ratios.get(subject.name)
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else ""
        relative = results.ratio(subject.name)
        ratio = "1.00" if relative is None else f"{relative:.2f}"
        spans = f"{results.spans.get(subject.name, 0):.0f}"
        rows.append(
            [subject.title, f"{statistics.median(seconds) * 1e3:.2f}", ratio, spread, spans]
        )
    title = "CPU of the service's processes for each request, user and system"
    header = ["", "ms", "ratio", "rounds", "spans sent"]
    return f"{what}\n\n{report.table(title, header, rows)}\n"


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.service", description="Measures a service under each subject."
    )
    parser.add_argument("--quick", action="store_true", help="a first impression")
    effort = measure.QUICK if parser.parse_args().quick else measure.FULL
    began = os.getloadavg()[0]
    try:
        python = python_for("service", make=True)
    except Unavailable as error:
        parser.error(str(error))
    results = measure.Measurement(effort, python).take()
    what = (
        f"{report.machine()}, load {began:.1f} before; {effort.processes} processes of each "
        f"service, {effort.turns} turns, {effort.requests} requests a round at "
        f"{effort.rate:g} a second."
    )
    text = markdown(results, what)
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / "service.md").write_text(text)
    document = {"description": what, **dataclasses.asdict(results)}
    (_RESULTS / "service.json").write_text(json.dumps(document, indent=2) + "\n")
    print(text)


if __name__ == "__main__":
    main()
