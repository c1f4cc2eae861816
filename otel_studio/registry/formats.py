"""The registry as JSON and CSV text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Final

from otel_studio.registry.operation_records import OperationMetrics, ServiceSummary

#: What spreadsheets take for the beginning of a formula, or pass over before one; also as the wide
#: characters of East Asian scripts.
_FORMULAS: Final = tuple("=+-@\t\r\n|%＝＋－＠")  # noqa: RUF001


def as_json(summaries: Sequence[ServiceSummary]) -> str:
    """Return the services as a JSON array, as `get_all_metrics` returns them."""
    return json.dumps([summary.to_dict() for summary in summaries], indent=2)


def as_csv(summaries: Sequence[ServiceSummary]) -> str:
    """Return one line per operation; a value that is not known is an empty cell.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    names = list(OperationMetrics.__dataclass_fields__)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["service", "operation", *names])
    for summary in summaries:
        for operation, metrics in summary.operation_metrics.items():
            row = [summary.service_name, operation, *(getattr(metrics, name) for name in names)]
            writer.writerow(map(_cell, row))
    return text.getvalue()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value
