"""By which error type and declared labels the runs of an operation are counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from otel_studio.base.failure import safe_text
from otel_studio.base.overflow import OTHER
from otel_studio.registry.errors import GroupKey
from otel_studio.registry.operation import Operation
from otel_studio.registry.series import SeriesKey
from otel_studio.spans.ended_run import EndedRun

#: Error types that get a series of their own in one operation; more share `__other__`.
_MAX_ERROR_TYPES: Final = 20
#: Sets of label values that get series of their own in one operation; more share `__other__`.
MAX_LABEL_SETS: Final = 50
#: Characters of a label's value; what is longer is no value of a few.
_MAX_LABEL: Final = 256
_PLAIN: Final[SeriesKey] = (None, ())


def batches_of(
    before: Operation,
    plain: list[EndedRun],
    failed: Sequence[tuple[EndedRun, GroupKey]],
    names: tuple[str, ...],
) -> tuple[dict[SeriesKey, list[EndedRun]], int]:
    """Return the runs by the series that they are counted in, and how many had no room."""
    if not failed and not names:
        return {_PLAIN: plain}, 0
    types = {error_type for error_type, _ in before.series if error_type is not None}
    sets = {values for _, values in before.series}
    batches: dict[SeriesKey, list[EndedRun]] = {}
    overflow = 0
    told = [(None, run) for run in plain] + [(key[0], run) for run, key in failed]
    for kind, run in told:
        error_type: str | None = kind
        if error_type is not None and error_type not in types:
            if len(types) >= _MAX_ERROR_TYPES:
                error_type = OTHER
            types.add(error_type)
        values: tuple[str, ...] = ()
        if names:
            attributes = run._attributes or {}
            values = tuple(_label(attributes.get(name)) for name in names)
            if values not in sets:
                if len(sets) >= MAX_LABEL_SETS:
                    values = (OTHER,) * len(names)
                sets.add(values)
            overflow += values[0] == OTHER
        batches.setdefault((error_type, values), []).append(run)
    return batches, overflow


def _label(value: object) -> str:
    return "" if value is None else safe_text(value, _MAX_LABEL)
