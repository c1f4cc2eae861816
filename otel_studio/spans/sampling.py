"""Reads what a sampler decides ahead of time, so that the usual ones need no call per span."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.sampling import Decision, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from otel_studio.base import otel_sdk_private

#: The bits of a trace id that the ratio sampler compares with its bound.
RATIO_MASK = sampling.TraceIdRatioBased.TRACE_ID_LIMIT


class RecordAll(sampling.Sampler):
    """Records every span, and samples those that another sampler does.

    What the SDK calls `AlwaysRecordSampler`, which its older supported versions lack.

    Args:
        root: decides which spans are exported.
    """

    def __init__(self, root: sampling.Sampler) -> None:
        self.root = root

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Return the root's result, with `RECORD_ONLY` in the place of `DROP`."""
        result = self.root.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )
        if result.decision is Decision.DROP:
            return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)
        return result

    def get_description(self) -> str:
        """Return the name of both."""
        return f"RecordAll{{{self.root.get_description()}}}"


class RecordingEverything:
    """Has a provider of the SDK record what its sampler drops, until `undo()`.

    What is recorded and not sampled is not exported, as the specification says.

    Args:
        provider: the TracerProvider, with the tracers it has made and will make.
    """

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._ours: list[RecordAll] = []
        for owner in self._owners():
            sampler = getattr(owner, "sampler", None)
            if isinstance(sampler, sampling.Sampler) and not isinstance(sampler, RecordAll):
                owner.sampler = RecordAll(sampler)
                self._ours.append(owner.sampler)

    def undo(self) -> None:
        """Give the provider and its tracers their own samplers back."""
        for owner in self._owners():
            for ours in self._ours:
                if owner.sampler is ours:
                    owner.sampler = ours.root

    def _owners(self) -> list[Any]:
        return [self._provider, *otel_sdk_private.tracers(self._provider)]


@dataclasses.dataclass(frozen=True, slots=True)
class SamplingPlan:
    """What a known sampler decides, in a form that two comparisons can apply.

    Attributes:
        bound: a root span is sampled when `trace_id & RATIO_MASK` is below it.
        follows_parent: whether a child takes its local parent's flag; else `bound` decides again.
    """

    bound: int
    follows_parent: bool


def plan(sampler: sampling.Sampler) -> SamplingPlan | None:
    """Return the plan of a sampler whose decision is known, or `None` for any other.

    Known are: always on, ratio, `ParentBased` over them with the default delegates, and
    `RecordAll` (or the SDK's `AlwaysRecordSampler`) over any of these and over always off. A
    sampler that may drop a span altogether is not: a dropped span must never reach the
    processors.
    """
    root: sampling.Sampler | None = (
        sampler.root
        if isinstance(sampler, RecordAll)
        else otel_sdk_private.always_record_root(sampler)
    )
    records_all = root is not None
    if root is not None:
        sampler = root
    follows_parent = False
    if isinstance(sampler, sampling.ParentBased):
        parts = otel_sdk_private.parent_based_parts(sampler)
        if parts is None or parts[1:] != (
            sampling.ALWAYS_ON,
            sampling.ALWAYS_OFF,
            sampling.ALWAYS_ON,
            sampling.ALWAYS_OFF,
        ):
            return None
        sampler, follows_parent = parts[0], True
    bound = _root_bound(sampler)
    if bound is None:
        return None
    if not records_all and bound <= RATIO_MASK:
        return None
    return SamplingPlan(bound, follows_parent)


def _root_bound(sampler: sampling.Sampler) -> int | None:
    decision = otel_sdk_private.static_decision(sampler)
    if decision is Decision.RECORD_AND_SAMPLE:
        return RATIO_MASK + 1
    if decision is Decision.DROP:
        return 0
    if type(sampler) is sampling.TraceIdRatioBased:
        return sampler.bound
    return None


def build_sampler(name: str, argument: float | str | None) -> sampling.Sampler:
    """Return a sampler by the name that `OTEL_TRACES_SAMPLER` gives it.

    Args:
        name: one of the specification's names, or that of an installed package's sampler.
        argument: the share of traces for the ratio samplers (1 where nothing is said); an
            installed sampler is given it as text.

    Raises:
        ValueError: if no sampler is called so.
    """
    share = float(argument) if isinstance(argument, (int, float)) else 1.0
    known = {
        "always_on": lambda: sampling.ALWAYS_ON,
        "always_off": lambda: sampling.ALWAYS_OFF,
        "traceidratio": lambda: sampling.TraceIdRatioBased(share),
        "parentbased_always_on": lambda: sampling.ParentBased(sampling.ALWAYS_ON),
        "parentbased_always_off": lambda: sampling.ParentBased(sampling.ALWAYS_OFF),
        "parentbased_traceidratio": lambda: sampling.ParentBased(sampling.TraceIdRatioBased(share)),
    }
    if name in known:
        return known[name]()  # type: ignore[no-untyped-call]  # ParentBased has no types
    for entry in entry_points(group="opentelemetry_traces_sampler", name=name):
        factory: Callable[[str], object] = entry.load()
        made = factory("" if argument is None else str(argument))
        if isinstance(made, sampling.Sampler):
            return made
    raise ValueError(f"no sampler is called {name!r}: known are {', '.join(known)}")
