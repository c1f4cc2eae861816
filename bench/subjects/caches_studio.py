"""A recorded cache access: its share of folding is in the figure."""

from __future__ import annotations

import itertools
import random

from bench.subject import Subject
from otel_studio.base.clock import SystemClock
from otel_studio.caches import CacheRegistry

#: As skewed as the reads of a web cache tend to be.
_SKEW = 0.9


def skewed_keys(different: int) -> list[str]:
    """Return many keys in the order of their reads, few of them often.

    Args:
        different: how many there are.
    """
    weights = [1 / rank**_SKEW for rank in range(1, different + 1)]
    chosen = random.Random(1).choices(range(different), weights, k=100_000)
    return [f"preview:{n}" for n in chosen]


def make() -> Subject:
    """Return hits in a small and a large cache, with and without their duration."""
    caches = CacheRegistry(SystemClock())
    small, large, timed = (caches.cache(name) for name in ("small", "large", "timed"))
    few, many = skewed_keys(1_000), skewed_keys(100_000)
    next_few = itertools.cycle(few).__next__
    next_many = itertools.cycle(many).__next__
    return Subject(
        calls={
            "key": next_few,
            "hit": lambda: small.hit(next_few()),
            "hit_many_keys": lambda: large.hit(next_many()),
            "hit_timed": lambda: timed.hit(next_few(), 0.000_5),
        },
        settle=lambda: [cache.fold() for cache in (small, large, timed)],
    )
