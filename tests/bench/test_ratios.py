"""What OTel Studio costs against OpenTelemetry's SDK stays where it is: ratios, not seconds.

A limit is about 1.3 times what was measured, so that a path that becomes half as dear again is
noticed. `python -m bench` measures the same with more care, and beside more peers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bench.workers import Worker, paired_ratio

_SUBJECTS = (
    "studio",
    "studio_unsampled",
    "otel_sdk",
    "otel_always_off",
    "otel_batch",
    "encoding",
)

#: A busy machine spoils one measurement, a regression every one.
_ATTEMPTS = 3


@pytest.fixture(scope="module")
def workers() -> Iterator[dict[str, Worker]]:
    with ExitStack() as stack:
        started = {name: stack.enter_context(Worker(name)) for name in _SUBJECTS}
        for worker in started.values():
            assert worker.shapes
        yield started


@pytest.mark.parametrize(
    ("work", "against", "limit"),
    [
        (("studio", "call"), ("otel_sdk", "call"), 0.112),
        (("studio_unsampled", "call"), ("otel_always_off", "call"), 0.44),
        (("studio", "contrib"), ("otel_batch", "contrib"), 0.305),
        (("encoding", "encode_bare_studio"), ("encoding", "encode_bare_otel"), 0.098),
        (("encoding", "encode_attributes_studio"), ("encoding", "encode_attributes_otel"), 0.105),
    ],
    ids=[
        "tracked call against a hand-written span and histogram",
        "unsampled against ALWAYS_OFF",
        "contrib span against the SDK's",
        "encoding against the reference encoder",
        "encoding three attributes against the reference encoder",
    ],
)
def test_the_cost_stays_where_it_is(
    workers: dict[str, Worker], work: tuple[str, str], against: tuple[str, str], limit: float
) -> None:
    """The ratio of two subjects, measured side by side, is within its limit."""
    ratios: list[float] = []
    while len(ratios) < _ATTEMPTS:
        ratios.append(
            paired_ratio(
                (workers[work[0]], work[1]),
                (workers[against[0]], against[1]),
                values=15,
                seconds=0.01,
            )
        )
        if ratios[-1] <= limit:
            return
    shown = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    pytest.fail(f"{' '.join(work)} costs {shown} of {' '.join(against)}; the limit is {limit}")
