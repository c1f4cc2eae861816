"""Weak references that are walked while they change."""

from __future__ import annotations

import gc
import weakref

from otel_studio.base.weak_members import WeakMembers


class Member:
    """Can be referred to weakly."""


def test_what_comes_and_goes_during_a_walk_breaks_nothing() -> None:
    """The walk is of those that were there; one that is gone is passed over."""
    kept = [Member() for _ in range(4)]
    members: WeakMembers[Member] = WeakMembers()
    members.update(kept)
    seen = 0
    for member in members:
        seen += 1
        members.add(later := Member())
        weakref.finalize(later, members.add, member)
        kept.clear()
        del later, member
        gc.collect()
    assert 1 <= seen <= 4
    assert list(members) == []


def test_members_may_be_added_to_themselves() -> None:
    """As where what is handed over goes back to where it was."""
    kept = [Member() for _ in range(100)]
    members: WeakMembers[Member] = WeakMembers()
    members.update(kept)
    del kept[::2]
    members.update(members)
    assert set(members) == set(kept)
    members.update(kept)
    assert len(list(members)) == len(kept)
