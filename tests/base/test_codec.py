"""The codec: everything comes back exactly, and what is no reading is refused with one error."""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
import zlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_studio.base import codec
from otel_studio.base.codec import LEFT_OUT, CodecError, Limits, readable

Attribute = str | bool | int | float | Sequence[str] | Sequence[bool] | Sequence[int]


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Run(Protocol):
    """What a live run offers; it is written as a record."""

    @property
    def name(self) -> str: ...


@dataclasses.dataclass(frozen=True, slots=True)
class RunRecord:
    name: str
    attributes: Mapping[str, Attribute]


class LiveRun:
    name = "pay"

    @property
    def attributes(self) -> dict[str, Any]:
        return {"tags": ["a", "b"], "paid": True, "amount": 1.5}


class Celsius:
    """Knows itself how it is written."""

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Celsius) and other.degrees == self.degrees

    def __hash__(self) -> int:
        return hash(self.degrees)

    def to_plain(self) -> tuple[float, ...]:
        return (self.degrees,)

    @classmethod
    def from_plain(cls, plain: tuple[float, ...]) -> Celsius:
        return cls(plain[0])


@dataclasses.dataclass(frozen=True, slots=True)
class Leaf:
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Tree:
    children: tuple[Tree, ...] = ()


@readable("test-inner", version=3)
@dataclasses.dataclass(frozen=True, slots=True)
class Inner:
    counts: dict[int, int]
    label: str | None = None


@readable("test-reading")
@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    count: int
    total: float
    name: str
    on: bool
    data: bytes
    maybe: int | None
    number: int | float | None
    row: tuple[int, str]
    bounds: tuple[float, ...]
    names: list[str]
    tags: frozenset[str]
    by_key: Mapping[tuple[str, int | None], Inner]
    by_text: MappingProxyType[str, Inner]
    colour: Colour
    kind: Literal["a", "b", 3]
    either: Leaf | Tree | None
    parts: tuple[Leaf | Tree, ...]
    attributes: Mapping[str, Attribute]
    heat: Celsius
    runs: tuple[Run, ...] = ()
    tree: Tree = dataclasses.field(default_factory=Tree)
    cached: Any = dataclasses.field(default=None, metadata=LEFT_OUT, compare=False)


codec.write_as(Run, RunRecord, lambda run: RunRecord(run.name, run.attributes))

texts = st.text(st.characters(exclude_categories=()), max_size=8)
whole = st.integers() | st.integers(-(10**300), 10**300)
floats = st.floats(allow_nan=False)
inner = st.builds(Inner, st.dictionaries(whole, whole, max_size=4), st.none() | texts)
leaves: st.SearchStrategy[Leaf | Tree] = st.builds(Leaf, texts) | st.just(Tree((Tree(), Tree())))
attributes = st.dictionaries(
    texts, texts | whole | floats | st.booleans() | st.lists(texts).map(tuple), max_size=4
)
readings = st.builds(
    Reading,
    count=whole,
    total=floats,
    name=texts,
    on=st.booleans(),
    data=st.binary(max_size=10),
    maybe=st.none() | whole,
    number=st.none() | whole | floats,
    row=st.tuples(whole, texts),
    bounds=st.lists(floats, max_size=4).map(tuple),
    names=st.lists(texts, max_size=4),
    tags=st.frozensets(texts, max_size=4),
    by_key=st.dictionaries(st.tuples(texts, st.none() | whole), inner, max_size=3),
    by_text=st.dictionaries(texts, inner, max_size=3).map(MappingProxyType),
    colour=st.sampled_from(Colour),
    kind=st.sampled_from(["a", "b", 3]),
    either=st.none() | leaves,
    parts=st.lists(leaves, max_size=3).map(tuple),
    attributes=attributes,
    heat=st.builds(Celsius, floats),
    runs=st.lists(st.builds(RunRecord, texts, attributes), max_size=2).map(tuple),
)


def example(**changes: Any) -> Reading:
    values: dict[str, Any] = {
        "count": 10**40,
        "total": 0.1,
        "name": "ö \ud83d\ude00 \udcff",
        "on": True,
        "data": b"\x00\xff",
        "maybe": None,
        "number": 7,
        "row": (1, "x"),
        "bounds": (0.5, 1.0),
        "names": ["a"],
        "tags": frozenset({"t"}),
        "by_key": {("a", None): Inner({-1: 2})},
        "by_text": MappingProxyType({"k": Inner({}, "l")}),
        "colour": Colour.GREEN,
        "kind": "b",
        "either": Leaf("leaf"),
        "parts": (Tree((Tree(),)), Leaf("")),
        "attributes": {"a": 1, "b": ("x", "y"), "c": 2.5, "d": False},
        "heat": Celsius(36.6),
        "runs": (RunRecord("pay", {"n": 1}),),
    }
    return Reading(**{**values, **changes})


def framed(plain: Any) -> bytes:
    text = json.dumps(plain, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return b"OTS\x01" + zlib.compress(text)


def plain_of(data: bytes) -> Any:
    return json.loads(zlib.decompress(data[4:]).decode("utf-8", "surrogatepass"))


def with_field(name: str, value: Any) -> bytes:
    written = plain_of(codec.encode(example()))
    written[2][name] = value
    return framed(written)


def shape(value: Any) -> Any:
    """The value with the type of everything in it, for `1 == 1.0 == True`."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return type(value), [shape(getattr(value, field.name)) for field in fields]
    if isinstance(value, Mapping):
        return type(value), {shape_key(key): shape(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [shape(item) for item in value]
    return type(value), value


def shape_key(key: Any) -> Any:
    return (type(key), key)


@given(readings)
def test_everything_comes_back_as_it_was(reading: Reading) -> None:
    """Values and their exact types: big integers, floats, lone surrogates, keys of any kind."""
    again = codec.decode(codec.encode(reading), Reading)
    assert again == reading
    assert shape(again) == shape(reading)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), -0.0, 5e-324])
def test_floats_that_json_does_not_know_come_back(value: float) -> None:
    """NaN and the infinities are written as such, in fields, lists and attributes."""
    reading = example(total=value, bounds=(value,), attributes={"x": value})
    again = codec.decode(codec.encode(reading), Reading)
    found = (again.total, *again.bounds, again.attributes["x"])
    assert [repr(one) for one in found] == [repr(value)] * 3


def test_a_float_that_was_written_as_an_integer_is_read_as_a_float() -> None:
    """Python takes an integer for a float; what is read is a float nevertheless."""
    again = codec.decode(codec.encode(example(total=3, bounds=(1, 2.5))), Reading)
    assert shape((again.total, again.bounds)) == shape((3.0, (1.0, 2.5)))
    with pytest.raises(CodecError, match="beyond every float"):
        codec.decode(with_field("total", 10**400), Reading)


def test_live_objects_are_written_as_their_records() -> None:
    """A run that is kept as an object with properties is read back as a plain record."""
    again = codec.decode(codec.encode(example(runs=(LiveRun(), RunRecord("x", {})))), Reading)
    assert again.runs == (
        RunRecord("pay", {"tags": ("a", "b"), "paid": True, "amount": 1.5}),
        RunRecord("x", {}),
    )


def test_what_is_left_out_takes_its_default() -> None:
    """A field that says so is not written, whatever it holds."""
    assert codec.decode(codec.encode(example(cached=object())), Reading).cached is None


#: Written by the first version of the codec; it must stay readable for good.
GOLDEN = """
4f54530178018d91d14ac33014865f659cebacb41b4e0978e1c5f04644c4bb5246b2665b59968e2cc59511f0
517c0741bc112f7c9ebd83ffe91437bcb185d273f29f3f5ffee414cc26f4bd5165e5e62476a7b5ccc4a15139
673cc96184625a372e90ccd27f3eb0a883b224d304764ead0c49fa7ceded9fdff76f4fbdfdcb0709aa1dc9e0
1b23a85441417075777189fe4ab51a7ad7588bd966a519e35c90af1f49e6f0db52214803a9dca0912667224b
52b4781fee90624150f3ae089dba9d2c4d8bb59c57057b1785c8bf4fc6babc9fa1314097acd206ec2c8a5ceb
7612cc16e7dfd1923f5d1add0c268e06c8528c02cbb66e804cd7f7e3f12d0eb4ac5c8952e3d75461c1c7c9e9
c6a8d9217c7626cb65c4666be543e74d0fde18564c17952dbd415accfb5b1411aff8e30417d8a8107ca51b5c
3513235de4a679df2d285a8e644a7280e8086833653706e40ba3c0920f47c90802df3806d9fddcdf5ab5983d
35065416193b302c6773cc178b2f2359c21d
"""


def test_the_first_version_stays_readable() -> None:
    """The bytes that the first version wrote give the reading that they were made of."""
    assert codec.decode(bytes.fromhex(GOLDEN), Reading) == example()


# Versions


def versioned(version: int, **options: Any) -> Any:
    @readable("test-versioned", version=version, **options)
    @dataclasses.dataclass(frozen=True, slots=True)
    class Versioned:
        seconds: float
        later: str = "default"

    return Versioned


def test_what_an_older_version_wrote_is_read() -> None:
    """Upgrades lead from version to version; a step without one changes nothing."""

    def to_seconds(plain: dict[str, Any]) -> dict[str, Any]:
        return {"seconds": plain["milliseconds"] / 1000}

    old = framed(["test-versioned", {"test-versioned": 1}, {"milliseconds": 1500, "gone": [1]}])
    current = versioned(3, upgrades={1: to_seconds})
    assert codec.decode(old, current) == current(1.5, "default")
    middle = framed(["test-versioned", {"test-versioned": 2}, {"seconds": 2.0, "later": "x"}])
    assert codec.decode(middle, current) == current(2.0, "x")


def test_an_upgrade_that_fails_is_a_refusal() -> None:
    """Data that an upgrade did not expect is no other exception."""
    current = versioned(2, upgrades={1: lambda plain: {"seconds": plain["milliseconds"]}})
    with pytest.raises(CodecError, match="milliseconds"):
        codec.decode(framed(["test-versioned", {}, {}]), current)


def test_a_part_of_an_older_version_is_upgraded_within() -> None:
    """Each named type has its version; one that is newer than known is refused."""
    written = plain_of(codec.encode(example()))
    assert written[1] == {"test-reading": 1, "test-inner": 3}
    written[1]["test-inner"] = 4
    with pytest.raises(CodecError, match=r"test-inner in version 4; expected version 3 at most"):
        codec.decode(framed(written), Reading)
    for wrong in (0, "1", True, None):
        written[1]["test-inner"] = wrong
        with pytest.raises(CodecError):
            codec.decode(framed(written), Reading)


def test_unknown_fields_are_skipped_and_missing_ones_take_defaults() -> None:
    """What a version with one field more wrote is read by one without it, and the other way."""
    written = plain_of(codec.encode(example()))
    written[2]["invented"] = {"deep": [1]}
    del written[2]["runs"]
    assert codec.decode(framed(written), Reading) == example(runs=())
    del written[2]["count"]
    with pytest.raises(CodecError, match="the field count of Reading"):
        codec.decode(framed(written), Reading)


def test_names_are_the_classes_own() -> None:
    """Two classes cannot share a name, nor can a class without one be written."""
    with pytest.raises(ValueError, match="is the name of Inner already"):
        readable("test-inner")(Leaf)
    with pytest.raises(ValueError, match="versions begin at 1"):
        readable("test-other", version=0)
    with pytest.raises(TypeError, match="has no name in the codec"):
        codec.encode(Leaf("x"))
    with pytest.raises(CodecError, match="holds 'test-inner'; expected 'test-reading'"):
        codec.decode(codec.encode(Inner({})), Reading)


@pytest.mark.parametrize("annotation", [Any, complex, str | bytes, list[int] | dict[str, int]])
def test_a_type_that_cannot_be_written_is_said(annotation: Any) -> None:
    """The refusal names the annotation, before anything is written."""
    kind = dataclasses.make_dataclass("Odd", [("field", annotation)])
    with pytest.raises(TypeError, match="the codec cannot"):
        codec.encode(readable("test-odd")(kind)(1))


# What is refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", "1"),
        ("count", 1.0),
        ("count", True),
        ("count", None),
        ("total", "1"),
        ("total", False),
        ("name", 1),
        ("name", None),
        ("on", 1),
        ("data", "no base 64!"),
        ("data", [1]),
        ("maybe", "x"),
        ("number", True),
        ("row", [1]),
        ("row", [1, 2]),
        ("row", {}),
        ("bounds", ["x"]),
        ("bounds", {}),
        ("names", [1]),
        ("names", "abc"),
        ("tags", [["x"]]),
        ("by_key", [[["a", 1]], []]),
        ("by_key", [[[["a"], 1]], [{}]]),
        ("by_key", {}),
        ("by_text", [[], []]),
        ("by_text", {"k": 1}),
        ("by_text", {"k": {"counts": [["1"], [1]]}}),
        ("colour", "BLUE"),
        ("colour", 1),
        ("kind", "c"),
        ("kind", 3.0),
        ("either", ["Reading", {}]),
        ("either", ["Leaf", {"text": 1}]),
        ("either", {"text": "x"}),
        ("attributes", {"a": None}),
        ("attributes", {"a": [None]}),
        ("attributes", {"a": {"b": 1}}),
        ("heat", [None]),
        ("heat", []),
        ("runs", [{"name": "x"}]),
    ],
)
def test_a_value_of_another_type_is_refused_where_it_stands(name: str, value: Any) -> None:
    """The error names the field; nothing is converted silently."""
    with pytest.raises(CodecError) as refused:
        codec.decode(with_field(name, value), Reading)
    assert name in str(refused.value) or name == "heat"


def test_a_refusal_says_what_where_and_what_to_do() -> None:
    """One sentence with the path to the value."""
    data = with_field("by_text", {"k": {"counts": [[1], ["x"]]}})
    with pytest.raises(CodecError) as refused:
        codec.decode(data, Reading)
    assert str(refused.value) == (
        "The reading has str at by_text[0].counts[0]; expected int. Drop it, or read it with "
        "the version of OTel Studio that wrote it."
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"by_text": {1: Inner({})}},
        {"by_key": {("a", 1): "x"}},
        {"row": {1, 2}},
        {"either": "x"},
        {"colour": "RED"},
        {"parts": 1},
        {"count": 10**5000},
    ],
)
def test_what_cannot_be_read_is_not_written(changes: dict[str, Any]) -> None:
    """A value that is plainly of another type is refused by the writer already."""
    with pytest.raises(CodecError):
        codec.encode(example(**changes))


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    """Any bytes at all, with the right beginning or without it, packed or not."""
    for hostile in (data, b"OTS\x01" + data, b"OTS\x01" + zlib.compress(data)):
        with pytest.raises(CodecError):
            codec.decode(hostile, Reading)


json_values = st.recursive(
    st.none() | st.booleans() | whole | st.floats() | texts,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(texts, inside, max_size=3),
    max_leaves=8,
)


@given(json_values, st.sampled_from([field.name for field in dataclasses.fields(Reading)]))
def test_any_json_in_any_field_is_read_or_refused(value: Any, name: str) -> None:
    """No value of any shape raises anything but the one error."""
    for hostile in (framed(value), framed(["test-reading", {}, value]), with_field(name, value)):
        try:
            codec.decode(hostile, Reading)
        except CodecError:
            pass


@given(st.data())
def test_cut_and_flipped_data_is_read_or_refused(data: st.DataObject) -> None:
    """A truncated reading is refused, and one with a flipped bit is too: the frame has a sum."""
    whole_data = codec.encode(example())
    cut = data.draw(st.integers(0, len(whole_data) - 1))
    bit = data.draw(st.integers(0, len(whole_data) * 8 - 1))
    flipped = bytearray(whole_data)
    flipped[bit // 8] ^= 1 << bit % 8
    for hostile in (whole_data[:cut], whole_data + b"x"):
        with pytest.raises(CodecError):
            codec.decode(hostile, Reading)
    try:  # a few bits of a zlib header say nothing about the data
        assert codec.decode(bytes(flipped), Reading) == example()
    except CodecError:
        pass


# Limits


def refused(data: bytes, match: str, limits: Limits = Limits()) -> None:  # noqa: B008
    with pytest.raises(CodecError, match=match):
        codec.decode(data, Reading, limits=limits)


@pytest.mark.patient
def test_a_bomb_is_refused_before_it_unpacks() -> None:
    """A megabyte that unpacks to a gigabyte costs no more than the limit."""
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(b"[" * (1 << 20)) for _ in range(1000)) + packer.flush()
    assert len(bomb) < 2 << 20
    refused(b"OTS\x01" + bomb, "unpacked bytes")


def test_too_many_bytes_items_levels_and_letters_are_refused() -> None:
    """Each limit is looked at before the data becomes objects, and says its number."""
    data = with_field("names", ["a,[{" * 10] * 100)
    codec.decode(data, Reading)
    refused(data, "at most 10", Limits(packed_bytes=10))
    refused(data, "at most 4,000", Limits(plain_bytes=4_000))
    refused(data, "at most 100", Limits(items=100))
    refused(data, "at most 39", Limits(text_bytes=39))
    codec.decode(data, Reading, limits=Limits(text_bytes=40))
    refused(with_field("names", ['\\"' * 30]), "bytes of one text", Limits(text_bytes=39))
    refused(data, "at most 3 levels", Limits(depth=3))
    with pytest.raises(CodecError, match="at most 39"):
        codec.encode(example(names=["a" * 40]), limits=Limits(text_bytes=39))


@pytest.mark.parametrize("opened", ["[", '{"a":', '["[",'])
def test_deep_nesting_is_refused(opened: str) -> None:
    """However deep, the parser never sees it; brackets within text are no levels."""
    for closed in ("", "]" * 200_000):
        refused(b"OTS\x01" + zlib.compress((opened * 200_000 + closed).encode()), "level|bracket")
    tree: Any = {}
    for _ in range(30):
        tree = {"children": [tree]}
    refused(with_field("tree", tree), "levels")


def test_a_huge_integer_is_refused_quickly() -> None:
    """Its digits are counted first, also where the program lifted the interpreter's limit."""
    data = b"OTS\x01" + zlib.compress(b"[" + b"9" * 2_000_000 + b"]")
    refused(data, "garbled")
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        refused(data, "more than 4,300 digits")
        assert codec.decode(codec.encode(example()), Reading) == example()
    finally:
        sys.set_int_max_str_digits(before)
