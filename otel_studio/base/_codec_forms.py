"""How a value of each annotated type is written as plain data and read again; made once a type."""

from __future__ import annotations

import base64
import binascii
import enum
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from otel_studio.base._codec_wire import CodecError

_TEXT: Final = {str}
#: The versions of the types that the data was written with.
Versions = Mapping[str, int]
Encode = Callable[[Any], Any]
Decode = Callable[[Any, Versions], Any]


class Mismatch(CodecError):
    """A value that is not what its annotation says; the path to it grows on the way up."""

    def __init__(self, expected: str, found: object, words: str = "") -> None:
        self.path: list[str] = []
        self.expected = expected
        self.found = words or type(found).__name__
        super().__init__(expected, self.found)

    def __str__(self) -> str:
        place = ".".join(reversed(self.path)).replace(".[", "[") or "its root"
        return (
            f"The reading has {self.found} at {place}; expected {self.expected}. Drop it, or "
            "read it with the version of OTel Studio that wrote it."
        )


class Form:
    """The two directions of one type.

    Args:
        expects: the type in words.
        encode: makes plain data; `None` where the value is plain already.
        decode: makes the value, with the versions of the types that the data has.
        scalars: the exact types of it, where it is a scalar or one of several.
        children: the forms inside it.
    """

    __slots__ = ("children", "decode", "encode", "expects", "scalars")

    def __init__(
        self,
        expects: str,
        encode: Encode | None,
        decode: Decode,
        scalars: frozenset[type] = frozenset(),
        children: tuple[Form, ...] = (),
    ) -> None:
        self.expects = expects
        self.encode = encode
        self.decode = decode
        self.scalars = scalars
        self.children = children


def scalar_form(kinds: Iterable[type]) -> Form:
    """Return the form of one scalar type, or of a union of several.

    Args:
        kinds: of `int`, `float`, `str`, `bool` and `NoneType`; a float may be written as an
            integer where no integer is meant.
    """
    exact = frozenset(kinds)
    expects = " or ".join(sorted(kind.__name__ for kind in exact))

    def decode(value: Any, _versions: Versions) -> Any:
        if type(value) in exact:
            return value
        if float in exact and type(value) is int:
            return _as_float(value)
        raise Mismatch(expects, value)

    return Form(expects, None, decode, exact)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Mismatch("float", value, "an integer beyond every float") from None


def bytes_form() -> Form:
    """Return the form of `bytes`: text in base 64."""

    def decode(value: Any, _versions: Versions) -> bytes:
        if type(value) is not str:
            raise Mismatch("bytes in base 64", value)
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise Mismatch("bytes in base 64", value, "other text") from None

    return Form("bytes", lambda value: base64.b64encode(value).decode(), decode)


def choice_form(choices: Iterable[Any]) -> Form:
    """Return the form of a `Literal`."""
    allowed = [(type(choice), choice) for choice in choices]
    expects = "one of " + ", ".join(repr(choice) for _, choice in allowed)

    def decode(value: Any, _versions: Versions) -> Any:
        if (type(value), value) not in allowed:
            raise Mismatch(expects, value)
        return value

    return Form(expects, None, decode)


def enum_form(kind: type[enum.Enum]) -> Form:
    """Return the form of an enumeration: the member's name."""
    members = dict(kind.__members__)
    expects = f"a member of {kind.__name__}"

    def decode(value: Any, _versions: Versions) -> Any:
        if type(value) is not str or value not in members:
            raise Mismatch(expects, value)
        return members[value]

    return Form(expects, lambda member: member.name, decode)


def sequence_form(item: Form, make: Callable[[Iterable[Any]], Any], ordered: bool) -> Form:
    """Return the form of a collection of like items.

    Args:
        item: the form of each.
        make: makes the collection of them.
        ordered: whether it is a list or a tuple, which JSON knows.
    """
    expects = f"a list of {item.expects}"
    encode_item, decode_item, scalars = item.encode, item.decode, item.scalars
    encode: Encode | None
    if encode_item is None:
        encode = None if ordered else list
    else:
        encode = lambda values: [encode_item(value) for value in values]  # noqa: E731

    def decode(value: Any, versions: Versions) -> Any:
        if type(value) is not list:
            raise Mismatch(expects, value)
        if scalars and scalars.issuperset(map(type, value)):
            return make(value)
        items: list[Any] = []
        try:
            items.extend(decode_item(one, versions) for one in value)
        except Mismatch as error:
            error.path.append(f"[{len(items)}]")
            raise
        return make(items)

    return Form(expects, encode, decode, children=(item,))


def fixed_form(items: tuple[Form, ...]) -> Form:
    """Return the form of a tuple with so many items, each of its own type."""
    expects = f"a list of {len(items)}"
    decoders = [item.decode for item in items]
    encode: Encode | None = None
    if any(item.encode for item in items):
        encoders = [item.encode or _same for item in items]
        encode = lambda values: [  # noqa: E731
            encode_item(value) for encode_item, value in zip(encoders, values, strict=True)
        ]

    def decode(value: Any, versions: Versions) -> Any:
        if type(value) is not list or len(value) != len(decoders):
            raise Mismatch(expects, value)
        return tuple(
            decode_item(one, versions) for decode_item, one in zip(decoders, value, strict=True)
        )

    return Form(expects, encode, decode, children=items)


def mapping_form(key: Form, value: Form, proxied: bool) -> Form:
    """Return the form of a mapping: an object by text, else the list of keys and that of values.

    Args:
        key: the form of the keys.
        value: the form of the values.
        proxied: whether it is read as a `MappingProxyType`.
    """
    expects = f"a mapping of {key.expects} to {value.expects}"
    make: Callable[[Any], Any] = MappingProxyType if proxied else _same
    values = sequence_form(value, list, ordered=True)
    encode_values = values.encode or list
    by_text = key.scalars == {str}
    keys = sequence_form(key, list, ordered=True)
    encode_keys = keys.encode or list

    def encode(mapping: Mapping[Any, Any]) -> Any:
        if not by_text:
            return [encode_keys(mapping), encode_values(mapping.values())]
        kinds = set(map(type, mapping))
        if kinds != _TEXT and not all(issubclass(kind, str) for kind in kinds):
            # JSON would make it text
            raise Mismatch("text as every key", mapping, "another key")
        if value.encode is None:
            return dict(mapping)
        return dict(zip(mapping, encode_values(mapping.values()), strict=True))

    def decode(plain: Any, versions: Versions) -> Any:
        if by_text:
            if type(plain) is not dict:
                raise Mismatch(expects, plain)
            return make(_zipped(plain, values.decode(list(plain.values()), versions)))
        if type(plain) is not list or len(plain) != 2:
            raise Mismatch(expects, plain)
        return make(_zipped(keys.decode(plain[0], versions), values.decode(plain[1], versions)))

    return Form(expects, encode, decode, children=(key, value))


def _zipped(keys: Iterable[Any], values: list[Any]) -> dict[Any, Any]:
    try:
        return dict(zip(keys, values, strict=True))
    except ValueError:
        raise Mismatch("as many keys as values", values, "another number") from None


def union_form(scalars: Form | None, other: Form) -> Form:
    """Return the form of scalars and one type that is written as a list or an object.

    Args:
        scalars: the form of those; `None` for none.
        other: the form of the type.
    """
    if scalars is None:
        return other
    expects = f"{scalars.expects} or {other.expects}"
    exact = scalars.scalars
    encode_other, decode_other = other.encode, other.decode
    encode: Encode | None = None
    if encode_other is not None:
        kinds = tuple(exact)
        encode = lambda value: value if isinstance(value, kinds) else encode_other(value)  # noqa: E731

    def decode(value: Any, versions: Versions) -> Any:
        if type(value) in exact:
            return value
        if float in exact and type(value) is int:
            return _as_float(value)
        try:
            return decode_other(value, versions)
        except Mismatch as error:
            error.expected = error.expected if error.path else expects
            raise

    return Form(expects, encode, decode, children=(other,))


def named_form(records: list[tuple[type, str, Form]]) -> Form:
    """Return the form of one of several classes: its name, and what it holds.

    Args:
        records: the classes with their names and forms.
    """
    by_name = {name: form for _, name, form in records}
    tags = [(kind, name, form.encode) for kind, name, form in records]
    expects = " or ".join(by_name)

    def encode(value: Any) -> Any:
        for kind, name, encode_record in tags:
            if isinstance(value, kind):
                return [name, encode_record(value) if encode_record else value]
        raise Mismatch(expects, value)

    def decode(plain: Any, versions: Versions) -> Any:
        if type(plain) is not list or len(plain) != 2 or type(plain[0]) is not str:
            raise Mismatch(f"a name and {expects}", plain)
        form = by_name.get(plain[0])
        if form is None:
            raise Mismatch(expects, plain, "another type")
        return form.decode(plain[1], versions)

    return Form(expects, encode, decode, children=tuple(by_name.values()))


def _same(value: Any) -> Any:
    return value
