"""The quantile sketch: its error is bounded, and merging loses nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_studio.base.sketch import Sketch, bucket_middle

durations = st.lists(st.integers(min_value=0, max_value=10**15), min_size=1, max_size=200)
quantiles = st.floats(min_value=0, max_value=1)


@given(durations, quantiles)
def test_a_quantile_is_within_its_error(values: list[int], q: float) -> None:
    """The value found is at most 0.8% from the exact one of the same rank."""
    sketch = Sketch()
    sketch.add_many(values)
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    found = sketch.quantile(q)
    assert found is not None
    assert abs(found - exact) <= exact * 0.008


@given(durations, durations)
def test_merging_is_as_if_all_had_been_added(one: list[int], other: list[int]) -> None:
    """Two sketches merged equal one sketch of both, bucket by bucket."""
    left, right, both = Sketch(), Sketch(), Sketch()
    left.add_many(one)
    right.add_many(other)
    both.add_many(one + other)
    left.merge(right)
    assert left.counts == both.counts
    assert left.count == len(one) + len(other)


@given(durations)
def test_adding_one_by_one_or_together_is_the_same(values: list[int]) -> None:
    """`add`, `add_many` and `add_sorted` use the same buckets."""
    single, many, ordered = Sketch(), Sketch(), Sketch()
    for value in values:
        single.add(value)
    many.add_many(values)
    ordered.add_sorted(sorted(values))
    assert single.counts == many.counts == ordered.counts


@given(st.integers(min_value=0, max_value=10**18), st.integers(min_value=0, max_value=10**18))
def test_buckets_keep_the_order(a: int, b: int) -> None:
    """A larger value never falls into a bucket that stands for less."""
    middles = []
    for value in sorted((a, b)):
        sketch = Sketch()
        sketch.add(value)
        middles.append(bucket_middle(next(iter(sketch.counts))))
    assert middles[0] <= middles[1]


def test_an_empty_sketch_knows_nothing() -> None:
    """Without a value there is no quantile: `None`, not zero."""
    assert Sketch().quantiles((0.5, 0.99)) == [None, None]


def test_a_quantile_outside_0_to_1_is_refused() -> None:
    """95 is not a quantile: the sentence says what is."""
    with pytest.raises(ValueError, match=r"between 0 and 1, not 95"):
        Sketch().quantile(95)
