"""What the demo says at its end: operations, slowest runs, errors, caches."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.text import Text

from examples.demo_driver.screen import operations_table
from otel_studio import api


def print_summary(console: Console, seconds: float, outcomes: Counter[str]) -> None:
    """Print what happened.

    Args:
        console: where to.
        seconds: how long the load ran.
        outcomes: how the requests ended, from `Load`.
    """
    ended = ", ".join(f"{count} x {outcome}" for outcome, count in outcomes.most_common())
    console.print(f"\n{outcomes.total()} requests in {seconds:.1f} s: {ended or 'none'}")
    console.print(operations_table(api.get_all_metrics()))
    _print_slowest_runs(console)
    _print_errors(console)
    _print_caches(console)


def _print_slowest_runs(console: Console) -> None:
    _heading(console, "Slowest runs")
    for slow in api.get_slow_operations(limit=3, by="max"):
        console.print(slow)


def _print_errors(console: Console) -> None:
    _heading(console, "Errors")
    console.print(api.get_error_statistics())


def _print_caches(console: Console) -> None:
    _heading(console, "Caches")
    console.print(api.get_cache_performance_metrics())


def _heading(console: Console, words: str) -> None:
    console.print(Text(f"\n{words}", "bold"))
