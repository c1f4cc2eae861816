"""The one codec of readings and kept runs: versioned, compact, and safe to read from anywhere.

A dataclass is written by the names of its fields, in the types of their annotations, as
compressed JSON in a frame that names its type and version. What is read is of exactly those types
or refused with a `CodecError`; nothing in it can run code, and no limit is found out by being hit.
Integers of any size, floats to the last bit, NaN and the infinities, and any text, lone
surrogates too, come back as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from otel_studio.base._codec_forms import Mismatch
from otel_studio.base._codec_types import (
    LEFT_OUT_KEY,
    Forms,
    RecordForm,
    Registration,
    Upgrade,
    versions_in,
)
from otel_studio.base._codec_wire import CodecError, Limits, pack, refusal, unpack

__all__ = ["LEFT_OUT", "CodecError", "Limits", "decode", "encode", "readable", "write_as"]

T = TypeVar("T")

#: `dataclasses.field(default=..., metadata=LEFT_OUT)` keeps a field out of what is written.
LEFT_OUT: Final[Mapping[str, bool]] = MappingProxyType({LEFT_OUT_KEY: True})

_NO_UPGRADES: Final[Mapping[int, Upgrade]] = MappingProxyType({})
_LIMITS: Final = Limits()
_forms: Final = Forms()


def readable(
    name: str, *, version: int = 1, upgrades: Mapping[int, Upgrade] = _NO_UPGRADES
) -> Callable[[type[T]], type[T]]:
    """Give a dataclass its name and version in what is written.

    A field that older data lacks takes its default, one that newer data has besides is skipped:
    the version rises only where the same field means something else.

    Args:
        name: short and stable; one for each class.
        version: from 1.
        upgrades: by an older version, what makes the plain fields of the next version of those
            of it. A version without one is read as it is.

    Raises:
        ValueError: if another class has the name, or the version is below 1.

    Example:
        >>> import dataclasses
        >>> @readable("doctest-reading")
        ... @dataclasses.dataclass(frozen=True)
        ... class Example:
        ...     counts: dict[int, int]
        >>> decode(encode(Example({1: 2})), Example)
        Example(counts={1: 2})
    """
    if version < 1:
        raise ValueError(f"{name!r} has version {version}; versions begin at 1.")

    def register(kind: type[T]) -> type[T]:
        for other, known in _forms.registered.items():
            same = (other.__module__, other.__qualname__) == (kind.__module__, kind.__qualname__)
            if known.name == name and not same:
                raise ValueError(
                    f"{name!r} is the name of {other.__qualname__} already; give "
                    f"{kind.__qualname__} another one."
                )
        _forms.registered[kind] = Registration(name, version, upgrades)
        return kind

    return register


def write_as(kind: Any, record: type, convert: Callable[[Any], Any]) -> None:
    """Have what fields name by one type written, and read back, as a plain record.

    Args:
        kind: as annotations name it: a protocol, or any class.
        record: the dataclass that stands for it; where a value is one already it stays.
        convert: makes the record of a value.
    """
    _forms.write_as(kind, record, convert)


def encode(reading: Any, *, limits: Limits = _LIMITS) -> bytes:
    """Return the bytes of a registered dataclass.

    Args:
        reading: of a class that `readable` gave a name.
        limits: those of the reader; what it would refuse is not written.

    Raises:
        CodecError: if a field is not what its annotation says, as far as is seen, or the whole
            goes beyond a limit.
        TypeError: if the class, or a type in it, has no way to be written.
    """
    form = _form(type(reading))
    assert form.encode is not None
    assert form.registration is not None
    try:
        plain = form.encode(reading)
    except CodecError:
        raise
    except Exception as error:
        raise refusal(
            f"A {form.registration.name} cannot be written: {type(error).__name__}: {error}",
            "values of the types that its fields name",
            "Make the field what its annotation says.",
        ) from error
    return pack([form.registration.name, versions_in(form), plain], limits)


def decode(data: bytes, kind: type[T], *, limits: Limits = _LIMITS) -> T:
    """Return the value that some bytes were made of.

    Args:
        data: what `encode` gave, in this version or an older one; or anything at all.
        kind: the class that is expected.
        limits: what is read at most.

    Raises:
        CodecError: whatever is wrong with the data.
        TypeError: if the class, or a type in it, has no way to be written.
    """
    form = _form(kind)
    try:
        written = unpack(data, limits)
        plain = _plain(written, form)
        value: T = form.decode(plain, written[1])
        return value
    except CodecError:
        raise
    except Exception as error:  # an upgrade, or a class of ours, that its data surprised
        raise refusal(
            f"The reading cannot be read: {type(error).__name__}: {error}",
            "what OTel Studio wrote",
            "Drop it and take a new one.",
        ) from error


def _plain(written: Any, form: RecordForm) -> Any:
    known = form.registration
    assert known is not None
    if type(written) is not list or len(written) != 3 or type(written[1]) is not dict:
        raise Mismatch("a name, versions and fields", written)
    name, versions, plain = written
    if name != known.name:
        raise refusal(
            f"The data holds {str(name)[:40]!r}",
            f"{known.name!r}",
            "Read it as what it is.",
        )
    for part, version in versions_in(form).items():
        found = versions.get(part, 1)
        if type(found) is not int or found < 1:
            raise Mismatch("a version from 1", found)
        if found > version:
            raise refusal(
                f"The reading has {part} in version {str(found)[:20]}",
                f"version {version} at most",
                "Update OTel Studio in the process that reads.",
            )
    return plain


def _form(kind: type) -> RecordForm:
    form = _forms.of(kind)
    if not isinstance(form, RecordForm) or form.registration is None:
        raise TypeError(
            f"{kind.__qualname__} has no name in the codec; expected a dataclass under "
            "@readable. Decorate it."
        )
    return form
