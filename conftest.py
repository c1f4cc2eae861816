"""Leaves out the tests that can mean nothing on this machine, and says so in one line each.

A skipped test is one that somebody could make run by installing something. A test marked
`only_where` is another matter: without a GPU, or on another Python, there is nothing to test.
"""

from __future__ import annotations

from collections import Counter

import pytest

_left_out: Counter[str] = Counter()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect each test of which an `only_where` does not hold."""
    kept: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        missing = [mark.args[1] for mark in item.iter_markers("only_where") if not mark.args[0]]
        (others if missing else kept).append(item)
        _left_out.update(missing[:1])
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out."""
    for reason, count in sorted(_left_out.items()):
        terminalreporter.write_line(f"left out: {count} that need {reason}")
