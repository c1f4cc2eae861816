"""How many entries a cache has and how many bytes they hold, from what was stored and evicted."""

from __future__ import annotations

_MASK = 0xFFFF_FFFF
_ALL_KEYS = _MASK + 1


class EntryLedger:
    """Keeps the size of each entry by a fingerprint of its key, in bounded memory.

    Up to `max_keys` entries the figures are exact. Past that, only keys whose hash falls
    under a threshold are kept and the figures are scaled up from them: an estimate, which
    `is_estimate` says. That also bounds the memory of a cache that never reports an eviction.

    Args:
        max_keys: entries that are kept at most.

    Example:
        >>> ledger = EntryLedger()
        >>> ledger.store(17, 4096)
        >>> ledger.entries, ledger.size_bytes
        (1, 4096)
    """

    def __init__(self, max_keys: int = 16_384) -> None:
        self._max_keys = max_keys
        self._threshold = _ALL_KEYS
        self._sizes: dict[int, int | None] = {}
        self._kept_bytes = 0
        self._peak_bytes: int | None = None
        self._peak_entries = 0
        self._guessed_removals = 0.0
        #: Whether an entry was ever stored: without one, there is no source for the figures.
        self.used = False

    @property
    def is_estimate(self) -> bool:
        """Whether entries went without saying which, or the figures are scaled up."""
        return self._threshold < _ALL_KEYS or self._guessed_removals > 0

    @property
    def sampled_share(self) -> float:
        """The share of all keys that is kept, by their hash."""
        return self._threshold / _ALL_KEYS

    @property
    def entries(self) -> int:
        """How many entries there are."""
        return self._scaled(len(self._sizes))

    @property
    def peak_entries(self) -> int:
        """The most entries there were; one more that another makes room for does not count."""
        return max(self._peak_entries, self.entries)

    @property
    def size_bytes(self) -> int | None:
        """The bytes of all entries that have a size; `None` when none ever had."""
        return None if self._peak_bytes is None else self._scaled(self._kept_bytes)

    @property
    def peak_bytes(self) -> int | None:
        """The most bytes there were; `None` when no entry ever had a size."""
        return self._peak_bytes

    def copy(self) -> EntryLedger:
        """Return one that goes on from here by itself."""
        twin = EntryLedger.__new__(EntryLedger)
        twin.__dict__.update(self.__dict__)
        twin._sizes = self._sizes.copy()
        return twin

    def store(self, fingerprint: int, size: int | None) -> None:
        """Note that an entry was stored.

        Args:
            fingerprint: a hash of its key.
            size: its bytes; `None` when not known.
        """
        self.used = True
        if fingerprint & _MASK >= self._threshold:
            return
        if fingerprint not in self._sizes:
            self._peak_entries = self.peak_entries
        self._drop(fingerprint)
        self._sizes[fingerprint] = size
        if size is not None:
            self._kept_bytes += size
            self._peak_bytes = max(self._peak_bytes or 0, self._scaled(self._kept_bytes))
        if len(self._sizes) > self._max_keys:
            self._keep_fewer()

    def remove(self, fingerprint: int, *, makes_room: bool = False) -> None:
        """Note that an entry is gone, or turned out not to be there.

        Args:
            fingerprint: a hash of its key.
            makes_room: whether it went for another, which may have been stored before.
        """
        if not makes_room:
            self._peak_entries = self.peak_entries
        self._drop(fingerprint)

    def _drop(self, fingerprint: int) -> None:
        self._kept_bytes -= self._sizes.pop(fingerprint, None) or 0

    def remove_unknown(self) -> None:
        """Note that some entry is gone: the one that was stored first is taken for it."""
        if not self._sizes:
            return
        before = int(self._guessed_removals)
        self._guessed_removals += self.sampled_share
        if int(self._guessed_removals) > before:
            self._drop(next(iter(self._sizes)))

    def clear(self) -> None:
        """Note that all entries are gone, and be exact again."""
        self._peak_entries = self.peak_entries
        self._sizes.clear()
        self._kept_bytes = 0
        self._threshold = _ALL_KEYS
        self._guessed_removals = 0.0

    def _keep_fewer(self) -> None:
        self._threshold //= 2
        for fingerprint in [key for key in self._sizes if key & _MASK >= self._threshold]:
            self._drop(fingerprint)

    def _scaled(self, kept: int) -> int:
        return kept * _ALL_KEYS // self._threshold
