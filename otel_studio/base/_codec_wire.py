"""Packs plain JSON data into bytes, and unpacks hostile bytes under limits."""

from __future__ import annotations

import dataclasses
import json
import sys
import zlib
from typing import Any, Final

MAGIC: Final = b"OTS"
#: Of the frame: magic, this byte, then JSON in UTF-8 as zlib compresses it.
FORMAT: Final = 1
#: Digits of an integer; the interpreter's own limit by default.
_MAX_DIGITS: Final = 4_300
_LEVEL: Final = 1  # readings are kept for seconds: speed is worth more than a smaller one
_NO_STRUCTURE: Final = bytes(set(range(256)) - set(b"[]{},"))
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")


class CodecError(ValueError):
    """What was to be read is no reading, or what was to be written is none."""


def refusal(wrong: str, expected: str, remedy: str) -> CodecError:
    """Return the error that says what was wrong, what was expected, and what to do."""
    return CodecError(f"{wrong}; expected {expected}. {remedy}")


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What is read at most.

    Attributes:
        packed_bytes: of the input.
        plain_bytes: of the text that it unpacks to.
        items: values, in all lists and mappings together.
        depth: of lists and mappings in one another.
        text_bytes: of one string, as JSON spells it.
    """

    packed_bytes: int = 16 << 20
    plain_bytes: int = 64 << 20
    items: int = 4_000_000
    depth: int = 40
    text_bytes: int = 1 << 20


def pack(plain: Any, limits: Limits) -> bytes:
    """Return the bytes of plain data.

    Args:
        plain: what JSON can say; NaN and the infinities too, in Python's spelling.
        limits: those of the reader: what it would refuse is not written.

    Raises:
        CodecError: if it is no plain data, or goes beyond a limit.
    """
    try:
        text = json.dumps(
            plain, ensure_ascii=False, check_circular=False, separators=(",", ":")
        ).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, RecursionError) as error:
        raise refusal(
            f"A reading cannot be written: {error}",
            "values of the types that its fields name",
            "Make the field what its annotation says.",
        ) from error
    _check(text, limits)
    packed = MAGIC + bytes((FORMAT,)) + zlib.compress(text, _LEVEL)
    _limit("bytes", len(packed), limits.packed_bytes)
    return packed


def unpack(data: bytes, limits: Limits) -> Any:
    """Return the plain data in some bytes.

    Args:
        data: what `pack` gave, or anything at all.
        limits: what is read at most.

    Raises:
        CodecError: if it is anything else, or goes beyond a limit.
    """
    _limit("bytes", len(data), limits.packed_bytes)
    if data[: len(MAGIC)] != MAGIC or len(data) <= len(MAGIC):
        raise refusal(
            f"The data is no reading: it begins with {bytes(data[:4])!r}",
            f"{MAGIC!r} and a format number",
            "Read what OTel Studio wrote.",
        )
    if data[len(MAGIC)] != FORMAT:
        raise refusal(
            f"The reading is in format {data[len(MAGIC)]}",
            f"format {FORMAT}",
            "Update OTel Studio in the process that reads, or drop the reading.",
        )
    text = _inflated(data[len(MAGIC) + 1 :], limits)
    _check(text, limits)
    limited = 0 < sys.get_int_max_str_digits() <= _MAX_DIGITS
    try:
        # Its own integer parser is the fast one; where the program lifted the limit, ours is.
        return json.loads(
            text.decode("utf-8", "surrogatepass"), parse_int=None if limited else _short_int
        )
    except (ValueError, RecursionError) as error:
        raise _garbled(str(error)) from error


def _inflated(data: bytes, limits: Limits) -> bytes:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, limits.plain_bytes + 1)
    except zlib.error as error:
        raise _garbled(str(error)) from error
    _limit("unpacked bytes", len(text), limits.plain_bytes)
    if not inflater.eof:
        raise _garbled("its end is missing")
    if inflater.unused_data:
        raise _garbled("something follows its end")
    return text


def _check(text: bytes, limits: Limits) -> None:
    """Refuse a text for what it would become, before it becomes that; at the speed of C."""
    _limit("unpacked bytes", len(text), limits.plain_bytes)
    if b"\\" in text:  # no escape then hides where a string ends, nor changes its length
        text = text.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    pieces = text.split(b'"')
    _limit("bytes of one text", max(map(len, pieces[1::2]), default=0), limits.text_bytes)
    brackets = b"".join(pieces[::2]).translate(_ONE_KIND, _NO_STRUCTURE)
    _limit("items", brackets.count(b",") + brackets.count(b"["), limits.items)
    brackets = brackets.replace(b",", b"")
    for _ in range(limits.depth):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise refusal(
            f"The reading is nested deeper than {limits.depth} levels, or a bracket is astray",
            f"at most {limits.depth} levels",
            "Drop it: OTel Studio writes none such.",
        )


def _limit(what: str, found: int, most: int) -> None:
    if found > most:
        raise refusal(
            f"The reading has {found:,} {what} or more",
            f"at most {most:,}",
            "Lower the limits of what is kept, or raise those of the codec on both sides.",
        )


def _short_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"an integer has more than {_MAX_DIGITS:,} digits")
    return int(digits)


def _garbled(how: str) -> CodecError:
    return refusal(
        f"The reading is garbled: {how}",
        "all the bytes that were written, unchanged",
        "Drop it and take a new one.",
    )
