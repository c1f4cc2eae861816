"""Runs a media preview service under load and shows what OTel Studio sees of it.

    python -m examples.demo [--for SECONDS] [--port PORT] [--rate REQUESTS] [--dump FILE]

Ends on Ctrl-C. OpenTelemetry's variables are honoured: with
`OTEL_TRACES_EXPORTER=otlp OTEL_METRICS_EXPORTER=otlp,prometheus` everything
also goes to a Collector on this machine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Run the demo and return the process's exit status."""
    parser = argparse.ArgumentParser(description="A media preview service under load, observed.")
    parser.add_argument(
        "--for", dest="seconds", type=_positive, metavar="SECONDS", help="end by itself"
    )
    parser.add_argument(
        "--port", type=int, help="of the service; by default 8000, or a free one if it is in use"
    )
    parser.add_argument(
        "--rate", type=_positive, default=15.0, metavar="REQUESTS", help="per second (default: 15)"
    )
    parser.add_argument(
        "--dump", type=Path, metavar="FILE", help="write the final statistics there, as JSON"
    )
    parser.add_argument(
        "--linger",
        type=_positive,
        default=0.0,
        metavar="SECONDS",
        help="keep serving /metrics after the load has ended, for a last scrape",
    )
    options = parser.parse_args()
    try:
        # Imported only now: Ctrl-C ends the demo cleanly while it still loads, too.
        from examples.demo_driver.run import run_demo

        return run_demo(
            seconds=options.seconds,
            port=options.port,
            rate=options.rate,
            dump=options.dump,
            linger=options.linger,
        )
    except KeyboardInterrupt:
        return 0


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


if __name__ == "__main__":
    if not __package__:  # started as `python examples/demo.py`
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.exit(main())
