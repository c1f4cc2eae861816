"""Leaves out the tests that can mean nothing on this machine, and says so in one line each.

A skipped test is one that somebody could make run by installing something. A test marked
`only_where` is another matter: without a GPU, or on another Python, there is nothing to test.

Where several processes share the tests (pytest-xdist), what each left out and reports comes to
the one that prints.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import hypothesis
import pytest

_left_out: Counter[str] = Counter()
#: For a pass over every room in a minute: a quarter of the examples.
hypothesis.settings.register_profile("quick", max_examples=25)


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


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what this worker left out to the process that prints."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = dict(_left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker left out; each of them saw every test."""
    _left_out.update(Counter(getattr(node, "workeroutput", {}).get("left_out")) - _left_out)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Make what a test printed fit for the pipe between two processes, which takes UTF-8 alone."""
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode("utf-8"))
        for title, text in report.sections
    ]
