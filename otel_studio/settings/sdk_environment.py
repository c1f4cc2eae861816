"""Takes out of the environment what would keep OpenTelemetry's SDK from being imported or used.

The SDK reads these variables when it is imported or when a provider is made, and raises for a
value that it cannot use: a program would not start for a slip in a variable.
"""

from __future__ import annotations

import os

from otel_studio.base.guard import warn_once

_COUNT = "a whole number of at least 0, or nothing for no limit"
_COUNTS = (
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
)
_EXEMPLARS = "OTEL_METRICS_EXEMPLAR_FILTER"
_EXEMPLAR_FILTERS = ("trace_based", "always_on", "always_off")


def leave_out_unusable() -> None:
    """Remove variables that the SDK would raise for, saying so once each."""
    for name in _COUNTS:
        text = os.environ.get(name, "").strip()
        if text and not _is_count(text):
            _leave_out(name, _COUNT)
    if os.environ.get(_EXEMPLARS, _EXEMPLAR_FILTERS[0]) not in _EXEMPLAR_FILTERS:
        _leave_out(_EXEMPLARS, " or ".join(_EXEMPLAR_FILTERS))


def _is_count(text: str) -> bool:
    try:
        return int(text) >= 0
    except ValueError:
        return False


def _leave_out(name: str, expected: str) -> None:
    value = os.environ.pop(name)
    warn_once(
        "setting",
        name,
        "%s=%.100r cannot be used: give %s. OpenTelemetry's default is used.",
        name,
        value,
        expected,
    )
