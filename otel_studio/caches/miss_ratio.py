"""Predicts a cache's hit rate at other sizes from a sample of its keys (SHARDS)."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import compress, count
from random import Random

from otel_studio.caches.reuse import ReuseDistances, bucket_of

#: What happened to a key, as far as an order of last uses cares.
READ, STORED, REMOVED = range(3)

#: Fingerprints are compared by these bits.
_MASK = 0xFFFF_FFFF
_ALL_KEYS = _MASK + 1


class MissRatioCurve:
    """The hit rate of a least-recently-used cache as a function of its size.

    A read of a key with `d` other keys read or stored since its last use is a hit in every
    such cache with more than `d` entries. These reuse distances are measured exactly for the
    keys whose hash falls under a threshold, and scaled by the share of keys that do; the
    threshold falls as keys come in, so that no more than `max_keys` are followed. This is
    fixed-size SHARDS with the adjustment of the expected count (Waldspurger et al., FAST
    2015). While all keys fit, the distances are exact; they are kept in buckets of a single
    distance up to 128, and of a 64th of it from there.

    Under load one batch in eight, by chance, is measured and stands for eight; the rest
    only brings the order of last uses up to date, which costs a quarter.

    The past fades: `fade` halves its weight, forgets keys not used for two fadings, and
    samples more keys again when few are left.

    Args:
        max_keys: keys that are followed at most; the error of the predicted rate falls with
            the root of it, about 1 to 2 hundredths at 2,048.
        random: chooses the batches to measure.

    Example:
        >>> curve = MissRatioCurve()
        >>> curve.observe([READ, READ, READ, READ], [1, 2, 1, 2])
        >>> curve.hit_rate(1), curve.hit_rate(2)
        (0.0, 0.5)
    """

    #: Reads that are all measured, at the start and after each fading.
    MEASURED_AT_FIRST = 16_384
    #: One in so many of the later batches is measured, unless it is small.
    MEASURED_BATCHES = 8
    SMALL_BATCH = 256

    def __init__(self, max_keys: int = 2_048, random: Random | None = None) -> None:
        self._max_keys = max_keys
        self._random = random or Random()
        self._threshold = _ALL_KEYS
        #: Fingerprint of each followed key: the time of its last use, in uses of followed keys.
        self._last_use: dict[int, int] = {}
        #: Those times in order; a new one is the largest, so it goes to the end.
        self._uses: list[int] = []
        self._next_use = 0
        #: The time of the last fading and of the one before.
        self._faded_at = (0, 0)
        self._reads_since_fading = 0
        #: Weights of measured reads: by bucket of the reuse distance, without one, and all.
        self._by_distance: dict[int, float] = {}
        self._cold = 0.0
        self._reads = 0.0
        self._fadings = 0

    @property
    def followed_keys(self) -> int:
        """How many keys are followed now."""
        return len(self._last_use)

    @property
    def sampled_share(self) -> float:
        """The share of all keys that is followed, by their hash."""
        return self._threshold / _ALL_KEYS

    def observe(self, kinds: Sequence[int], fingerprints: Sequence[int]) -> None:
        """Take in a batch of events, in order.

        Args:
            kinds: of each event: `READ` (a hit or a miss), `STORED` or `REMOVED` (other than
                to make room).
            fingerprints: a hash of the key of each event; any integer, well mixed.
        """
        weight = 1
        if self._reads_since_fading > self.MEASURED_AT_FIRST and len(kinds) >= self.SMALL_BATCH:
            weight = self.MEASURED_BATCHES
        reads = kinds.count(READ)
        self._reads_since_fading += reads
        threshold = self._threshold
        if threshold < _ALL_KEYS:
            sampled = [fingerprint & _MASK < threshold for fingerprint in fingerprints]
            kinds = list(compress(kinds, sampled))
            fingerprints = list(compress(fingerprints, sampled))
        if weight == 1 or self._random.randrange(weight) == 0:
            self._reads += weight * reads
            self._measure(kinds, fingerprints, weight * _ALL_KEYS / threshold)
        else:
            self._bring_up_to_date(kinds, fingerprints)
        if len(self._last_use) > self._max_keys:
            self._sample_fewer()

    def _measure(self, kinds: Sequence[int], fingerprints: Sequence[int], weight: float) -> None:
        last_use, uses = self._last_use, self._uses
        now = self._next_use
        last_use_of, add_use = last_use.get, uses.append
        distances: list[int] = []
        add_distance = distances.append
        newest = len(uses) - 1
        cold = 0
        for kind, fingerprint in zip(kinds, fingerprints, strict=True):
            last = last_use_of(fingerprint)
            if last is not None:
                place = bisect_left(uses, last)
                if not kind:  # a READ; this is the loop that a recorded hit pays for
                    add_distance(newest - place)
                del uses[place]
                if kind == REMOVED:
                    del last_use[fingerprint]
                    newest -= 1
                    continue
            elif kind == REMOVED:
                continue
            else:
                newest += 1
                cold += not kind
            last_use[fingerprint] = now
            add_use(now)
            now += 1
        self._next_use = now
        self._cold += cold * weight
        scale = _ALL_KEYS / self._threshold
        by_distance = self._by_distance
        for distance, times in Counter(distances).items():
            bucket = bucket_of(round(distance * scale))
            by_distance[bucket] = by_distance.get(bucket, 0.0) + times * weight

    def _bring_up_to_date(self, kinds: Sequence[int], fingerprints: Sequence[int]) -> None:
        """Do to the order of last uses what `_measure` does, without the distances."""
        last_use = self._last_use
        touched = dict.fromkeys(reversed(fingerprints))
        outdated = set(map(last_use.get, touched))
        if REMOVED in kinds:
            last_kinds = dict(zip(fingerprints, kinds, strict=True))
            for fingerprint, kind in last_kinds.items():
                if kind == REMOVED:
                    last_use.pop(fingerprint, None)
                    del touched[fingerprint]
        now = self._next_use
        uses = [use for use in self._uses if use not in outdated]
        uses.extend(range(now, now + len(touched)))
        last_use.update(zip(reversed(touched), count(now), strict=False))
        self._uses = uses
        self._next_use = now + len(touched)

    def _sample_fewer(self) -> None:
        """Lower the threshold so that a quarter of the keys drops out."""
        hashes = sorted(fingerprint & _MASK for fingerprint in self._last_use)
        self._threshold = threshold = max(1, hashes[self._max_keys * 3 // 4])
        self._keep({key: use for key, use in self._last_use.items() if key & _MASK < threshold})

    def _keep(self, last_use: dict[int, int]) -> None:
        self._last_use = last_use
        self._uses = sorted(last_use.values())

    def forget_keys(self) -> None:
        """Note that every key was removed."""
        self._last_use.clear()
        self._uses.clear()

    def fade(self) -> None:
        """Halve the weight of what was seen, and forget keys not used for two fadings."""
        self._fadings += 1
        self._reads /= 2
        self._cold /= 2
        self._by_distance = {
            bucket: weight / 2 for bucket, weight in self._by_distance.items() if weight > 2**-20
        }
        horizon, last = self._faded_at
        self._keep({key: use for key, use in self._last_use.items() if use >= horizon})
        self._faded_at = (last, self._next_use)
        self._reads_since_fading = 0
        if len(self._last_use) < self._max_keys // 4:
            self._threshold = min(_ALL_KEYS, 2 * self._threshold)

    def copy(self) -> MissRatioCurve:
        """Return one that goes on from here by itself."""
        twin = MissRatioCurve.__new__(MissRatioCurve)
        twin.__dict__.update(self.__dict__)
        twin._last_use = self._last_use.copy()
        twin._uses = self._uses.copy()
        twin._by_distance = self._by_distance.copy()
        return twin

    def distances(self) -> ReuseDistances:
        """Return what was measured; it changes with the next batch, unless that goes to a copy."""
        return ReuseDistances(self._by_distance, self._cold, self._reads, self._fadings)

    def hit_rate(self, entries: int) -> float | None:
        """Return the hit rate that a cache of this size would have had.

        Args:
            entries: how many entries it could hold.

        Returns:
            0 to 1; `None` before the first read.
        """
        return self.distances().hit_rates((entries,))[0]
