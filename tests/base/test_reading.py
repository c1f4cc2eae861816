"""Parts of readings by epoch, and counts by key."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from forked import in_forked_child
from otel_studio.base.reading import (
    add_counts,
    add_parts,
    new_epoch,
    process_epoch,
    subtract_counts,
    subtract_parts,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Count:
    value: int

    def __add__(self, other: Count) -> Count:
        return Count(self.value + other.value)

    def __sub__(self, other: Count) -> Count:
        return Count(self.value - other.value)


COUNTS = st.dictionaries(st.sampled_from("abc"), st.integers(1, 10**12))
PARTS = st.dictionaries(st.sampled_from("abc"), st.builds(Count, st.integers(0, 10**12)))


@given(COUNTS, COUNTS, COUNTS)
def test_counts_are_a_group(a: dict[str, int], b: dict[str, int], c: dict[str, int]) -> None:
    """Order and grouping do not matter; a difference takes back what a sum added."""
    assert add_counts(a, b) == add_counts(b, a)
    assert add_counts(add_counts(a, b), c) == add_counts(a, add_counts(b, c))
    assert subtract_counts(add_counts(a, b), a) == b
    assert subtract_counts(a, a) == {}


@given(PARTS, PARTS)
def test_parts_of_one_epoch_are_added(a: dict[str, Count], b: dict[str, Count]) -> None:
    """Those of different epochs stand beside each other."""
    together = add_parts(a, b)
    zero = Count(0)
    assert together == {
        epoch: a.get(epoch, zero) + b.get(epoch, zero) for epoch in a.keys() | b.keys()
    }
    back = subtract_parts(together, a)
    assert {epoch: part for epoch, part in back.items() if part != zero} == {
        epoch: part for epoch, part in b.items() if part != zero
    }


def test_what_began_anew_counts_from_zero() -> None:
    """A part of a new epoch is all new; one that is gone leaves nothing negative."""
    assert subtract_parts({"new": Count(3)}, {"old": Count(5)}) == {"new": Count(3)}


def test_no_two_beginnings_have_one_name() -> None:
    """Neither in this process nor in a child of it."""
    here = [new_epoch() for _ in range(3)]
    assert len(set(here)) == 3
    assert all(epoch.startswith(process_epoch()) for epoch in here)
    assert process_epoch() == process_epoch()
    assert in_forked_child(process_epoch) != process_epoch()
