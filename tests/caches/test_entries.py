"""Entries and bytes from what was stored and removed."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_studio.caches.entries import EntryLedger


@given(
    steps=st.lists(
        st.tuples(st.booleans(), st.integers(0, 20), st.one_of(st.none(), st.integers(0, 9_999)))
    )
)
def test_ledger_is_a_dict_of_sizes(steps: list[tuple[bool, int, int | None]]) -> None:
    """Stores, replacements and removals in any order keep entries, bytes and peak exact."""
    ledger = EntryLedger()
    sizes: dict[int, int | None] = {}
    peak = None
    for stores, key, size in steps:
        if stores:
            sizes[key] = size
            ledger.store(key, size)
            if size is not None:
                peak = max(peak or 0, sum(held or 0 for held in sizes.values()))
        else:
            sizes.pop(key, None)
            ledger.remove(key)
        assert ledger.entries == len(sizes)
        assert ledger.peak_bytes == peak
        if peak is not None:
            assert ledger.size_bytes == sum(held or 0 for held in sizes.values())
    assert not ledger.is_estimate


def test_many_entries_become_an_estimate_in_bounded_memory() -> None:
    """Past its limit the ledger keeps a sample, says so, and is within a few percent."""
    random = Random(5)
    ledger = EntryLedger(max_keys=4_096)
    for _ in range(100_000):
        ledger.store(random.getrandbits(62), 1_000)
    assert len(ledger._sizes) <= 4_096
    assert ledger.is_estimate
    assert ledger.entries == pytest.approx(100_000, rel=0.08)
    assert ledger.size_bytes == ledger.entries * 1_000
    assert ledger.peak_bytes == pytest.approx(ledger.size_bytes, rel=0.08)


def test_eviction_without_a_key_takes_the_entry_stored_first() -> None:
    """The count stays right, the bytes are a guess, and the ledger says that they are."""
    ledger = EntryLedger()
    ledger.store(1, 10)
    ledger.store(2, 20)
    ledger.remove_unknown()
    assert (ledger.entries, ledger.size_bytes, ledger.is_estimate) == (1, 20, True)
    ledger.remove_unknown()
    ledger.remove_unknown()
    assert ledger.entries == 0
