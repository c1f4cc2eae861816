"""A Studio of a test's own with its logs joined, and a handler that keeps what it gets."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import otel_studio
from otel_studio.base import guard
from otel_studio.base.clock import ManualClock
from otel_studio.logs.room import StudioLogs
from otel_studio.logs.span_redaction import SpanRedactor
from otel_studio.operations.runs import OperationRun
from otel_studio.spans.redaction import Redactor
from otel_studio.testing.isolation import Isolated


class Kept(logging.Handler):
    """Keeps every record it is handed."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]

    def of(self, name: str) -> list[logging.LogRecord]:
        return [record for record in self.records if record.name == name]


class Joined:
    """A Studio whose logs are joined."""

    def __init__(self, isolated: Isolated, logs: StudioLogs, handler: Kept) -> None:
        self.isolated = isolated
        self.logs = logs
        self.handler = handler
        self.clock = isolated.clock

    @property
    def reports(self) -> list[logging.LogRecord]:
        """The records about ended runs so far."""
        self.logs.flush()
        return self.handler.of("otel_studio.operations")


@contextmanager
def joined_logs(start: bool = True, **settings: Any) -> Iterator[Joined]:
    """Run a block with a Studio whose logs are joined; the reporting thread is not started."""
    guard.forget_said()
    root, handler = logging.getLogger(), Kept()
    level = root.level
    wanted = settings.pop("logging", True)
    redacts = settings.pop("redact_logs", wanted)
    with otel_studio.isolated(clock=ManualClock(), **settings) as isolated:
        studio = isolated.studio
        own = dataclasses.replace(studio.settings, logging=wanted, redact_logs=redacts)
        redactor = Redactor(own.redact_keys, own.redact_patterns)
        provider = studio.tracer_provider
        logs = StudioLogs(
            own,
            studio.clock,
            provider.ended,
            redactor,
            provider,
            slow_thresholds=studio.declared.slow_thresholds,
        )
        provider.line.redactor = SpanRedactor(redactor)
        provider.line.reports = logs.reports
        logs.register_instruments(studio.meter)
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        if start:
            logs._join.install()
        try:
            yield Joined(isolated, logs, handler)
        finally:
            logs.stop()
            root.removeHandler(handler)
            root.setLevel(level)
    guard.forget_said()


@contextmanager
def failed_run(
    service: str = "a", operation: str = "b", error: Exception | None = None
) -> Iterator[OperationRun]:
    """Run a block as an operation that then fails, with `ValueError("broken")` unless given."""
    error = error or ValueError("broken")
    with suppress(type(error)), otel_studio.service(service).operation(operation) as run:
        yield run
        raise error
