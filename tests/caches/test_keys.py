"""What is kept of keys: text, a keyed hash, or nothing."""

from __future__ import annotations

import pytest

from otel_studio.caches.keys import KeyLabels


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("a.png", "a.png"),
        (b"a.png", "a.png"),
        (b"\xff", "b'\\xff'"),
        (7, "7"),
        (("user", 7), "('user', 7)"),
        (Unprintable(), "<Unprintable>"),
    ],
)
def test_plain_keys_are_text(key: object, label: str) -> None:
    """Any object has a label, also one whose own text fails."""
    assert KeyLabels("plain").of(key) == label


def test_long_keys_are_cut_and_stay_apart() -> None:
    """Two keys that share their first thousand characters have two labels of 200."""
    labels = KeyLabels("plain")
    first, second = labels.of("x" * 1_000 + "a"), labels.of("x" * 1_000 + "b")
    assert first is not None
    assert second is not None
    assert first != second
    assert len(first) == len(second) == 200


def test_hashed_keys_need_the_secret() -> None:
    """The same key is the same digits here, other digits elsewhere, and never its text."""
    labels = KeyLabels("hash")
    label = labels.of("alice@example.com")
    assert label == labels.of("alice@example.com")
    assert label != KeyLabels("hash").of("alice@example.com")
    assert label is not None
    assert "alice" not in label
    assert labels.counted({"alice@example.com": 2, "bob": 1})[label] == 2
    assert labels.of("\ud800") is not None


def test_dropped_keys_leave_nothing() -> None:
    """Nothing is kept of a key, not even that it was there."""
    labels = KeyLabels("drop")
    assert labels.of("alice@example.com") is None
    assert labels.counted({"alice@example.com": 2}) == {}


def test_unknown_policy_is_refused() -> None:
    """The sentence names the policies that there are."""
    with pytest.raises(ValueError, match="plain, hash, drop"):
        KeyLabels("encrypt")
