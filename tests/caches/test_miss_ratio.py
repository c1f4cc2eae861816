"""The predicted hit rate at other sizes, against caches of those sizes."""

from __future__ import annotations

from collections import OrderedDict
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_studio.caches.miss_ratio import READ, REMOVED, STORED, MissRatioCurve
from otel_studio.caches.reuse import bounds_of, bucket_of


def simulated_hit_rate(events: list[tuple[int, int]], size: int) -> float:
    """Return the hit rate of a least-recently-used cache that fills on every miss."""
    cache: OrderedDict[int, None] = OrderedDict()
    hits = reads = 0
    for kind, key in events:
        if kind == READ:
            reads += 1
            hits += key in cache
        cache[key] = None
        cache.move_to_end(key)
        if len(cache) > size:
            cache.popitem(last=False)
    return hits / reads


def zipf(random: Random, keys: int, skew: float, length: int) -> list[int]:
    weights = [1 / rank**skew for rank in range(1, keys + 1)]
    return random.choices(range(keys), weights, k=length)


def observed(curve: MissRatioCurve, keys: list[int], salt: int, batch: int = 1_000) -> None:
    fingerprints = [hash((salt, key)) for key in keys]
    for start in range(0, len(keys), batch):
        part = fingerprints[start : start + batch]
        curve.observe([READ] * len(part), part)


@given(
    events=st.lists(
        st.tuples(st.sampled_from([READ, STORED]), st.integers(0, 30)), min_size=1, max_size=300
    ),
    size=st.integers(1, 40),
    batch=st.integers(1, 50),
)
def test_curve_is_exact_while_every_key_is_followed(
    events: list[tuple[int, int]], size: int, batch: int
) -> None:
    """Reads and stores in any order and batching give the hit rate of the simulated cache."""
    curve = MissRatioCurve()
    for start in range(0, len(events), batch):
        kinds, keys = zip(*events[start : start + batch], strict=True)
        curve.observe(kinds, keys)
    if any(kind == READ for kind, _ in events):
        assert curve.hit_rate(size) == pytest.approx(simulated_hit_rate(events, size))
    else:
        assert curve.hit_rate(size) is None


@pytest.mark.parametrize(
    ("keys", "skew"), [(50_000, 1.0), (20_000, 1.2), (20_000, 0.8), (1_500, 0.6), (300, 0.9)]
)
def test_sampled_curve_is_near_the_simulated_one(keys: int, skew: float) -> None:
    """On skewed traffic far above the keys followed, every size is within 0.03 of the truth."""
    random = Random(f"{keys} {skew}")
    trace = zipf(random, keys, skew, 100_000)
    curve = MissRatioCurve(random=random)
    observed(curve, trace, salt=random.getrandbits(62))
    assert curve.followed_keys <= 2_048
    events = [(READ, key) for key in trace]
    for divisor in (20, 8, 4, 2, 1):
        size = keys // divisor
        assert curve.hit_rate(size) == pytest.approx(simulated_hit_rate(events, size), abs=0.03)


def test_scan_larger_than_the_cache_shows_its_cliff() -> None:
    """A loop over 1,000 keys hits never in a cache of 990, and always in one of 1,000."""
    curve = MissRatioCurve()
    observed(curve, list(range(1_000)) * 10, salt=1)
    assert curve.hit_rate(990) == 0.0
    assert curve.hit_rate(1_000) == pytest.approx(0.9)


def test_batches_that_are_not_measured_keep_the_order() -> None:
    """Past the first reads most batches only note the order, and the cliff stays where it is."""
    curve = MissRatioCurve(random=Random(7))
    observed(curve, list(range(1_000)) * 100, salt=1)
    assert curve.hit_rate(990) == 0.0
    assert curve.hit_rate(1_000) == pytest.approx(0.98, abs=0.02)


@given(
    events=st.lists(
        st.tuples(st.sampled_from([READ, STORED, REMOVED]), st.integers(0, 20)), max_size=200
    )
)
def test_unmeasured_batch_leaves_the_same_order(events: list[tuple[int, int]]) -> None:
    """Noting the order alone gives the order of last uses that measuring gives."""
    kinds = [kind for kind, _ in events]
    keys = [key for _, key in events]
    measured, noted = MissRatioCurve(), MissRatioCurve()
    for curve in (measured, noted):
        curve.observe([STORED] * 5, list(range(5)))
    measured._measure(kinds, keys, 1.0)
    noted._bring_up_to_date(kinds, keys)
    orders = [
        sorted(curve._last_use, key=curve._last_use.__getitem__) for curve in (measured, noted)
    ]
    assert orders[0] == orders[1]
    for curve in (measured, noted):
        assert curve._uses == sorted(curve._last_use.values())


def test_invalidated_key_is_a_miss_at_every_size() -> None:
    """A read after the entry was deleted is no hit, however large the cache."""
    curve = MissRatioCurve()
    curve.observe([READ, REMOVED, READ], [1, 1, 1])
    assert curve.hit_rate(1_000_000) == 0.0


def test_past_fades() -> None:
    """Ten fadings after the traffic changed, the curve is that of the new traffic."""
    curve = MissRatioCurve(random=Random(1))
    observed(curve, list(range(2_000)) * 5, salt=1)
    assert curve.hit_rate(500) == 0.0
    for _ in range(10):
        observed(curve, [1, 2, 3] * 100, salt=1)
        curve.fade()
    assert curve.hit_rate(500) == pytest.approx(1.0, abs=0.05)
    assert curve.followed_keys == 3


def test_more_keys_are_sampled_again_after_a_flood() -> None:
    """A scan of many keys once lowers the share of keys followed; it comes back with time."""
    curve = MissRatioCurve(max_keys=100, random=Random(1))
    observed(curve, list(range(20_000)), salt=1)
    assert curve.sampled_share < 0.02
    for _ in range(12):
        observed(curve, list(range(20)) * 5, salt=1)
        curve.fade()
    assert curve.sampled_share == 1.0
    assert curve.hit_rate(20) == pytest.approx(1.0, abs=0.15)


@settings(max_examples=200)
@given(distance=st.integers(0, 1 << 60))
def test_buckets_cover_every_distance_once(distance: int) -> None:
    """A distance lies in its bucket, and the bucket is at most a 64th of it wide."""
    low, high = bounds_of(bucket_of(distance))
    assert low <= distance < high
    assert high - low <= max(1, distance // 64)
    assert bounds_of(bucket_of(distance) + 1)[0] == high
