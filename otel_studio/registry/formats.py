"""The registry as JSON and CSV text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from otel_studio.registry.operation_records import OperationMetrics, ServiceSummary


def as_json(summaries: Sequence[ServiceSummary]) -> str:
    """Return the services as a JSON array, as `get_all_metrics` returns them."""
    return json.dumps([summary.to_dict() for summary in summaries], indent=2)


def as_csv(summaries: Sequence[ServiceSummary]) -> str:
    """Return one line per operation; a value that is not known is an empty cell."""
    names = list(OperationMetrics.__dataclass_fields__)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["service", "operation", *names])
    for summary in summaries:
        for operation, metrics in summary.operation_metrics.items():
            writer.writerow(
                [summary.service_name, operation, *(getattr(metrics, name) for name in names)]
            )
    return text.getvalue()
