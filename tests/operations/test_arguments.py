"""Captured arguments: only those named, bounded, and never a `repr`."""

from __future__ import annotations

import enum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_studio import track
from otel_studio.operations.seat import MAX_ARGUMENT_CHARACTERS
from otel_studio.operations.wrapping import describe_argument

SERVICE = "arguments"


class Explosive:
    """Anything done to it fails the test."""

    def __repr__(self) -> str:
        raise AssertionError("repr was called")

    __str__ = __len__ = __iter__ = __repr__


class Colour(enum.IntEnum):
    RED = 1


class Loud(list):
    def __len__(self) -> int:
        raise AssertionError("its own code was called")


def test_only_what_is_named(s):
    """Positional, by keyword, by default: each named one becomes an attribute, no other."""

    @track("resize", service=SERVICE, capture_args=("path", "width"))
    def resize(path, secret, *, width=640):
        return path

    resize("a.mp4", "hunter2")
    s.assert_operation(
        SERVICE,
        "resize",
        attributes={"studio.argument.path": "a.mp4", "studio.argument.width": 640},
    )
    resize(secret="hunter2", path="b.mp4", width=320)
    [last, _] = s.runs(SERVICE)
    assert last.attributes == {"studio.argument.path": "b.mp4", "studio.argument.width": 320}


def test_one_name_alone(s):
    """`capture_args="path"` is one name, not four letters."""

    @track("resize", service=SERVICE, capture_args="path")
    def resize(path): ...

    resize(Path("clips") / "a.mp4")
    s.assert_operation(SERVICE, "resize", attributes={"studio.argument.path": "clips/a.mp4"})


def test_of_a_method_without_self(s):
    """The instance is passed over, whichever way the method is called."""

    class Shop:
        @track("sell", service=SERVICE, capture_args=("item",))
        def sell(self, item): ...

    Shop().sell("tea")
    Shop.sell(Shop(), item="milk")
    assert [run.attributes for run in s.runs(SERVICE)] == [
        {"studio.argument.item": "milk"},
        {"studio.argument.item": "tea"},
    ]


def test_of_variable_parameters(s):
    """`*items` and `**options` are told by their sizes, and do not shift the others."""

    @track("sum", service=SERVICE, capture_args=("items", "by", "options"))
    def add(first, *items, by=1, **options): ...

    add(0, 1, 2, 3, by=5, a=1, b=2)
    s.assert_operation(
        SERVICE,
        "sum",
        attributes={
            "studio.argument.items": "tuple(len=3)",
            "studio.argument.by": 5,
            "studio.argument.options": "dict(len=2)",
        },
    )


@pytest.mark.parametrize(
    ("value", "described"),
    [
        ("short", "short"),
        ("x" * 1_000, "x" * 255 + "…"),
        (5, 5),
        (-(2**63), -(2**63)),
        (2**70, "int(71 bits)"),
        (10**5_000, "int(16610 bits)"),
        (True, True),
        (0.5, 0.5),
        (None, "None"),
        (Colour.RED, 1),
        (Path("a/b"), "a/b"),
        ([0] * 200_000, "list(len=200000)"),
        ({"a": 1}, "dict(len=1)"),
        (b"abc", "bytes(len=3)"),
        (range(5), "range(len=5)"),
        (Explosive(), "Explosive"),
        (Explosive, "type"),
        (Loud(), "Loud"),
        (object(), "object"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_how_values_are_described(value, described):
    """Plain values as they are, text cut, anything else by type and length, its code unasked."""
    assert describe_argument(value) == described


@given(st.recursive(st.none() | st.text() | st.integers() | st.binary(), st.lists))
def test_every_description_is_short_and_plain(value):
    """Whatever the value, at most 256 characters of a type that OpenTelemetry can carry."""
    described = describe_argument(value)
    assert isinstance(described, (str, bool, int, float))
    if isinstance(described, str):
        assert len(described) <= MAX_ARGUMENT_CHARACTERS
    elif isinstance(described, int):
        assert -(2**63) <= described < 2**63


def test_generators_and_coroutines_capture_too(s):
    """At the first step."""

    @track("walk", service=SERVICE, capture_args=("path",))
    def walk(path):
        yield path

    assert list(walk("a")) == ["a"]
    s.assert_operation(SERVICE, "walk", attributes={"studio.argument.path": "a"})


def test_a_call_that_does_not_fit_fails_as_without_tracking(s):
    """The TypeError is the function's own, and capturing adds none."""

    @track("resize", service=SERVICE, capture_args=("path",))
    def resize(path): ...

    with pytest.raises(TypeError, match="missing 1 required positional argument: 'path'"):
        resize()
    s.assert_operation(SERVICE, "resize", count=1, errors=1, active=0)
