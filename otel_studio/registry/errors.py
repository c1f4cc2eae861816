"""Error groups: one exception type at one place in the code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from otel_studio.base.failure import safe_text
from otel_studio.base.overflow import OTHER
from otel_studio.base.reading import add_counts, subtract_counts
from otel_studio.registry.failures import describe_failure
from otel_studio.registry.kept import Kept, latest, without

#: Operations named in one group.
_MAX_OPERATIONS = 20
#: Of an error's type and place: a class made at run time, or a text, may have any name.
_MAX_NAME = 256

#: Exception type and place.
GroupKey = tuple[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorGroup:
    """One exception type at one place: how often, when first and last, and samples.

    Attributes:
        count: failed runs.
        first_seen: nanoseconds since the Unix epoch; `None` where a difference cannot tell.
        last_seen: likewise.
        operations: failed runs by operation, of the first operations that were seen.
        latest: the last run of the group.
        told: the last run that told a stack or log records.
        trace_ids: of the last runs, oldest first, with the ends of their runs.
        kept_ids: how many of these are kept.
    """

    count: int
    first_seen: int | None
    last_seen: int
    operations: Mapping[str, int]
    latest: Kept | None
    told: Kept | None
    trace_ids: tuple[tuple[int, int], ...]
    kept_ids: int

    def __add__(self, other: ErrorGroup) -> ErrorGroup:
        """Return both together."""
        firsts = [g.first_seen for g in (self, other) if g.first_seen is not None]
        kept = max(self.kept_ids, other.kept_ids)
        ids = sorted({*self.trace_ids, *other.trace_ids})
        return ErrorGroup(
            self.count + other.count,
            min(firsts, default=None),
            max(self.last_seen, other.last_seen),
            add_counts(self.operations, other.operations),
            latest(self.latest, other.latest),
            latest(self.told, other.told),
            tuple(ids[-kept:]) if kept else (),
            kept,
        )

    def __sub__(self, earlier: ErrorGroup) -> ErrorGroup:
        """Return what came since an earlier reading."""
        known = set(earlier.trace_ids)
        samples = (earlier.latest, earlier.told)
        return ErrorGroup(
            self.count - earlier.count,
            None,
            self.last_seen,
            subtract_counts(self.operations, earlier.operations),
            self.latest and next(iter(without((self.latest,), samples)), None),
            self.told and next(iter(without((self.told,), samples)), None),
            tuple(row for row in self.trace_ids if row not in known),
            self.kept_ids,
        )


class GroupDraft:
    """A group while one batch is folded into it.

    Args:
        before: what it was; `None` for a new one.
        kept_ids: how many trace ids are kept.
        keep: returns what is kept of a run.
    """

    __slots__ = ("_before", "_keep", "_kept_ids", "_operations", "_runs")

    def __init__(
        self, before: ErrorGroup | None, kept_ids: int, keep: Callable[[Kept], Kept]
    ) -> None:
        self._before = before
        self._kept_ids = kept_ids
        self._keep = keep
        self._operations = {} if before is None else dict(before.operations)
        self._runs: list[Kept] = []

    def add(self, run: Kept, operation: str) -> None:
        """Count one failed run.

        Args:
            run: that ended.
            operation: its name in the registry.
        """
        self._runs.append(run)
        counts = self._operations
        if len(counts) < _MAX_OPERATIONS or operation in counts:
            counts[operation] = counts.get(operation, 0) + 1

    def group(self) -> ErrorGroup:
        """Return the group with the batch in it."""
        before, runs = self._before, self._runs
        seen = [run.end_time or 0 for run in runs]
        ids = [(end, run._trace_id) for end, run in zip(seen, runs, strict=True)]
        told = next((self._keep(run) for run in reversed(runs) if _tells(run)), None)
        if before is not None:
            told = told or before.told
            ids = [*before.trace_ids, *ids]
        return ErrorGroup(
            len(runs) + (0 if before is None else before.count),
            min(seen) if before is None else before.first_seen,
            max(seen) if before is None else max(before.last_seen, *seen),
            self._operations,
            self._keep(runs[-1]),
            told,
            tuple(ids[-self._kept_ids :]) if self._kept_ids else (),
            self._kept_ids,
        )


class GroupDrafts:
    """The error groups of one service while one batch is folded into them, bounded.

    Args:
        groups: so far.
        limit: groups kept; further ones are counted together under `__other__`.
        kept_ids: trace ids kept per group.
        keep: returns what is kept of a run.
    """

    def __init__(
        self,
        groups: Mapping[GroupKey, ErrorGroup],
        limit: int,
        kept_ids: int,
        keep: Callable[[Kept], Kept],
    ) -> None:
        self._groups = groups
        self._limit = limit
        self._kept_ids = kept_ids
        self._keep = keep
        self._drafts: dict[GroupKey, GroupDraft] = {}
        #: Failures counted in `__other__` for want of room, in this batch.
        self.overflowed = 0

    def add(self, failed: Iterable[tuple[Kept, GroupKey]], operation: str) -> None:
        """Count failed runs of one operation.

        Args:
            failed: each run with its group (see `group_of`).
            operation: its name in the registry.
        """
        for run, key in failed:
            draft = self._drafts.get(key)
            if draft is None:
                known = self._groups.get(key)
                if known is None and self._is_full(key):
                    self.overflowed += 1
                    key = (OTHER, OTHER)  # noqa: PLW2901  (from here on it is that group's)
                    known = self._groups.get(key)
                    draft = self._drafts.get(key)
                if draft is None:
                    draft = self._drafts[key] = GroupDraft(known, self._kept_ids, self._keep)
            draft.add(run, operation)

    def _is_full(self, key: GroupKey) -> bool:
        new = [made for made in self._drafts if made not in self._groups]
        return key != (OTHER, OTHER) and len(self._groups) + len(new) >= self._limit

    def groups(self) -> Mapping[GroupKey, ErrorGroup]:
        """Return all groups with the batch in them."""
        if not self._drafts:
            return self._groups
        made = {key: draft.group() for key, draft in self._drafts.items()}
        return {**self._groups, **made}


def group_of(run: Kept) -> GroupKey:
    """Return the group that a failed run belongs to: its error's type and place."""
    failure = describe_failure(run)
    return safe_text(failure.type_name, _MAX_NAME), safe_text(failure.place, _MAX_NAME)


def _tells(run: Kept) -> bool:
    return bool(run._records) or run._failure is not None or bool(run._events)
