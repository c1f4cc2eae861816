"""Keys that are large themselves: few wait, their text is never made whole, and they stay apart."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import pytest

from otel_studio.base import limited
from otel_studio.base.clock import ManualClock
from otel_studio.caches import CacheRegistry
from otel_studio.caches.keys import KeyLabels, is_large, shown_text


class Counted(bytes):
    """Bytes whose text is not to be asked for."""

    def __str__(self) -> str:
        raise AssertionError("the whole text was made")

    __repr__ = __str__


@dataclasses.dataclass(frozen=True)
class Image:
    data: bytes


LARGE: list[Any] = [
    "text " + "x" * 1_000_000,
    b"bytes " + b"x" * 1_000_000,
    (b"in a tuple " + b"x" * 1_000_000, 7),
    ("a", ("b", ["in a list " + "x" * 1_000_000])),
    frozenset({"in a set " + "x" * 1_000_000}),
    Image(b"in a field " + b"x" * 1_000_000),
    tuple(range(100_000)),
]


@pytest.mark.parametrize("key", LARGE, ids=lambda key: type(key).__name__)
def test_a_large_key_is_shown_by_its_beginning(key: Any) -> None:
    """At most 200 characters, made quickly, the same each time."""
    assert is_large(key)
    began = time.perf_counter()
    shown = [shown_text(key) for _ in range(20)]
    took = time.perf_counter() - began
    assert len(set(shown)) == 1
    assert len(shown[0]) <= 200
    assert took < 5, f"{took / 20:.3f} s for one"


def test_the_text_of_a_large_key_is_not_made() -> None:
    """Only parts of its bytes are looked at."""
    key = Counted(b"x" * 1_000_000)
    assert shown_text((key,))
    assert KeyLabels("hash").of((key,))


@pytest.mark.parametrize("policy", ["plain", "hash"])
def test_large_keys_that_begin_alike_stay_apart(policy: str) -> None:
    """By their ends, their length, or what stands between; in tuples and objects too."""
    labels = KeyLabels(policy)
    head, tail = b"h" * 300_000, b"t" * 300_000
    middles = [b"", b"1", b"m" * 50_000, b"n" * 50_000]
    keys: list[Any] = [head + middle + tail for middle in middles]
    keys += [(key, 1) for key in keys] + [(keys[0], 2), Image(keys[0]), Image(keys[2])]
    found = [labels.of(key) for key in keys]
    assert len(set(found)) == len(keys)
    assert found == [labels.of(key) for key in keys]


def test_short_keys_are_shown_as_before() -> None:
    """Their own text; what is longer than shown has a digest of all of it behind it."""
    assert shown_text("a") == "a"
    assert shown_text(("user", 7)) == "('user', 7)"
    one, other = shown_text("x" * 500 + "1"), shown_text("x" * 500 + "2")
    assert one != other
    assert len(one) == 200


def test_few_events_wait_where_keys_are_large() -> None:
    """A caller folds at once then; where they are small again, many wait as before."""
    cache = CacheRegistry(ManualClock()).cache("previews")
    for number in range(100):
        cache.hit((b"x" * 2_000_000, number))
        assert len(cache._events) <= 16
    assert len(cache._events) <= 2
    for _ in range(20_000):
        cache.hit("a")
    assert cache._account.fold_at == 1_024
    assert cache.performance().hits == 20_100


def test_large_keys_are_counted() -> None:
    """Among what bounds have cut."""
    limited.forget_limited()
    cache = CacheRegistry(ManualClock()).cache("previews")
    cache.hit("x" * 1_000_000)
    cache.fold()
    assert limited.limited["cache_keys"] == 1


def test_a_reason_of_any_length_is_cut() -> None:
    """An eviction's reason is a word or two."""
    cache = CacheRegistry(ManualClock()).cache("previews")
    cache.set("a", 1)
    cache.evict("a", reason="r" * 100_000)
    (part,) = cache.reading().parts.values()
    assert dict(part.evictions) == {"r" * 64: 1}


def test_a_large_key_without_a_hash_is_told_by_its_beginning() -> None:
    """It is counted, and its whole text is not made."""
    cache = CacheRegistry(ManualClock()).cache("previews")
    cache.hit([Counted(b"x" * 1_000_000)])
    assert cache.performance().hits == 1
