"""Measures OTel Studio beside its peers and prints the tables as Markdown.

    python -m bench            everything, under ten minutes; makes the peers' environments once
    python -m bench --quick    a first impression, under a minute
    python -m bench --only studio otel_sdk

Writes `bench/results/latest.json` (all values and ratios), `pyperf.json` (for `pyperf stats`,
`pyperf compare_to`) and `latest.md` beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench import measure, report

_RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures OTel Studio beside its peers."
    )
    parser.add_argument("--quick", action="store_true", help="a first impression")
    parser.add_argument("--only", nargs="+", default=[], metavar="SUBJECT", help="these alone")
    options = parser.parse_args()
    effort = measure.QUICK if options.quick else measure.FULL
    results = measure.Measurement(effort, options.only, make_environments=not options.quick).take()
    what = f"{report.machine()}; {effort.processes} processes of each subject, rounds interleaved."
    text = report.markdown(results, what)
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / "latest.md").write_text(text)
    (_RESULTS / "latest.json").write_text(report.as_json(results, what))
    suite = results.suite()
    if suite is not None:
        suite.dump(str(_RESULTS / "pyperf.json"), replace=True)
    print(text)


if __name__ == "__main__":
    main()
