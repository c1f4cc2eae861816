"""Ends everything that exports within one budget of time, whatever the backends do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from otel_studio.base.delivery import is_own_thread
from otel_studio.base.guard import report_internal_error

#: The share of the budget after which exporters are told to give up; what is left of it is for
#: them to return. OpenTelemetry's exporters leave their retry loop at once when shut down.
_PATIENCE: Final = 0.8


class Abortable(Protocol):
    """An exporter: its `shutdown` ends a retry in progress and refuses further batches."""

    def shutdown(self) -> object:
        """Stop at once."""


def end_within(
    timeout: float, tasks: Mapping[str, Callable[[], object]], exporters: Sequence[Abortable]
) -> bool:
    """Run shutdowns side by side, and abort the exporters of those that take too long.

    OpenTelemetry's own shutdowns flush first, and with a dead Collector each flush retries
    for seconds, one after the other.

    Args:
        timeout: seconds until this returns, at most.
        tasks: what to run, such as `{"logs": logger_provider.shutdown}`; the name is for the
            report of a failure.
        exporters: what the tasks export through.

    Returns:
        Whether every task ended by itself, with no exporter aborted, and none of them raised
        or returned `False`.

    Example:
        >>> end_within(1.0, {"nothing": lambda: None}, [])
        True
    """
    deadline = time.monotonic() + timeout
    failed: list[str] = []
    threads = [_start(name, task, failed) for name, task in tasks.items()]
    if _join(threads, deadline - timeout * (1 - _PATIENCE)):
        return not failed
    # On threads of their own as well: closing a connection may block.
    threads += [
        _start(type(exporter).__name__, exporter.shutdown, failed) for exporter in exporters
    ]
    _join(threads, deadline)
    return False


def _start(name: str, task: Callable[[], object], failed: list[str]) -> threading.Thread:
    def run() -> None:
        try:
            if task() is False:
                failed.append(name)
        except BaseException as error:
            failed.append(name)
            if not isinstance(error, Exception) and not is_own_thread():
                raise
            report_internal_error(f"shutting down {name}", error)

    thread = threading.Thread(target=run, name=f"otel-studio-end-{name}", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # CPython 3.12.0 and 3.12.1 start no thread once the interpreter exits: the task runs
        # here, and takes what it allows itself.
        run()
    return thread


def _join(threads: Sequence[threading.Thread], deadline: float) -> bool:
    for thread in threads:
        if thread.is_alive():
            thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)
