"""The keys read most: never under their true count, and wrong by a bounded amount."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from otel_studio.caches.heavy_hitters import HotKeys

_BATCHES = st.lists(st.lists(st.integers(0, 60), max_size=40), max_size=40)


@given(batches=_BATCHES, capacity=st.integers(1, 8))
def test_estimates_bracket_the_true_counts(batches: list[list[int]], capacity: int) -> None:
    """Estimate - error <= true <= estimate, error <= n / (capacity + 1), and no hot key is lost."""
    hitters = HotKeys()
    true: Counter[str] = Counter()
    for batch in batches:
        counts = Counter(str(key) for key in batch)
        true += counts
        hitters = hitters.counting(counts, capacity)
        assert len(hitters) <= 5 * capacity + 40
    bound = true.total() / (capacity + 1)
    kept = hitters.top(1_000)
    for key, estimate, error in kept:
        assert estimate - error <= true[key] <= estimate
        assert error <= bound
    names = {key for key, _, _ in kept}
    assert all(key in names for key, count in true.items() if count > bound)


def test_top_keys_are_exact_while_all_fit() -> None:
    """Few keys are counted exactly, the most frequent first."""
    hitters = HotKeys()
    for _ in range(100):
        hitters = hitters.counting({"a": 3, "b": 1, "c": 2})
    assert hitters.top(2) == [("a", 300, 0), ("c", 200, 0)]


def test_a_hot_key_survives_a_million_others() -> None:
    """A key with a tenth of all accesses stays on top of a flood of keys read once."""
    hitters = HotKeys()
    for batch in range(1_000):
        counts = {"hot": 100} | {f"{batch}-{n}": 1 for n in range(900)}
        hitters = hitters.counting(counts, 50)
    key, estimate, error = hitters.top(1)[0]
    assert key == "hot"
    assert estimate - error <= 100_000 <= estimate
    assert len(hitters) < 1_200
