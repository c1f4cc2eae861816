"""What a Redis command and its reply say about keys: found or not, stored, deleted.

A read is counted as the server counts it: by key, in `keyspace_hits` and `keyspace_misses`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Arguments = Sequence[Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Effects:
    """What one command did."""

    reads: Sequence[tuple[Any, bool]] = ()
    stored: Sequence[Any] = ()
    #: Keys that were deleted; `None` stands for one of which that is not known.
    deleted: Sequence[Any] = ()


Interpret = Callable[[Arguments, Any], Effects]


def effects_of(arguments: Arguments, reply: Any) -> Effects | None:
    """Return what a command did; `None` for a command that is not counted, or that failed.

    Args:
        arguments: the command with its arguments.
        reply: the server's, or the exception that it became.
    """
    interpret = interpreter_of(arguments)
    if interpret is None or len(arguments) < 2:
        return None
    if isinstance(reply, Exception):
        is_of_one = interpret in _OF_ONE_KEY or (interpret is _first_of_one and len(arguments) == 2)
        if is_of_one and "WRONGTYPE" in str(reply):
            return Effects([(arguments[1], True)])  # the server found it, and only then refused
        return None
    return interpret(arguments, reply)


def interpreter_of(arguments: Arguments) -> Interpret | None:
    """Return what interprets the replies of a command; `None` where it is not counted.

    Args:
        arguments: the command with its arguments.
    """
    name = arguments[0] if arguments else ""
    found = _INTERPRETERS.get(name) if isinstance(name, str) else None
    if found is None:
        if isinstance(name, bytes):
            name = name.decode(errors="replace")
        found = _INTERPRETERS.get(str(name).upper())
    return found


def _one(test: Callable[[Any], bool]) -> Interpret:
    def interpret(arguments: Arguments, reply: Any) -> Effects:
        return Effects([(arguments[1], test(reply))])

    return interpret


def _is_given(reply: Any) -> bool:
    return reply is not None and reply != []


_given = _one(_is_given)
_not_empty = _one(bool)
_any_given = _one(lambda reply: any(value is not None for value in reply))
_time_to_live = _one(lambda reply: reply != -2)
_kind = _one(lambda reply: reply not in ("none", b"none"))


def _first_of_one(arguments: Arguments, reply: Any) -> Effects:
    """Interpret a command that takes several keys, and says something of one alone."""
    return Effects([(arguments[1], bool(reply))] if len(arguments) == 2 else ())


def _each_given(arguments: Arguments, reply: Any) -> Effects:
    pairs = zip(arguments[1:], reply, strict=False)
    return Effects([(key, value is not None) for key, value in pairs])


def _number_found(arguments: Arguments, reply: Any) -> Effects:
    """Interpret a reply that says how many of the keys there are, but not which."""
    keys = arguments[1:]
    return Effects([(key, place < int(reply)) for place, key in enumerate(keys)])


def _get_and_set(arguments: Arguments, reply: Any) -> Effects:
    return Effects([(arguments[1], reply is not None)], stored=[arguments[1]])


def _get_and_delete(arguments: Arguments, reply: Any) -> Effects:
    found = reply is not None
    return Effects([(arguments[1], found)], deleted=[arguments[1]] if found else ())


def _set(arguments: Arguments, reply: Any) -> Effects:
    key = arguments[1]
    options = {_word(option) for option in arguments[3:]}
    if "GET" in options:
        found = reply is not None
        stored = ("NX" not in options or not found) and ("XX" not in options or found)
        return Effects([(key, found)], stored=[key] if stored else ())
    return Effects(stored=[key] if reply else ())


def _word(option: Any) -> str:
    text = option.decode(errors="replace") if isinstance(option, bytes) else str(option)
    return text.upper()


def _stored(arguments: Arguments, _reply: Any) -> Effects:
    return Effects(stored=[arguments[1]])


def _stored_if_new(arguments: Arguments, reply: Any) -> Effects:
    return Effects(stored=[arguments[1]] if reply else ())


def _all_stored(arguments: Arguments, reply: Any) -> Effects:
    return Effects(stored=arguments[1::2] if reply else ())


def _number_deleted(arguments: Arguments, reply: Any) -> Effects:
    keys = arguments[1:]
    count = int(reply)
    return Effects(deleted=keys if count == len(keys) else [None] * count)


def _commands(interpret: Interpret, names: str) -> Iterator[tuple[str, Interpret]]:
    return ((name, interpret) for name in names.split())


_INTERPRETERS: dict[str, Interpret] = dict(
    [
        # These replies say whether the key was there.
        *_commands(_given, "GET GETEX DUMP SRANDMEMBER HRANDFIELD ZRANDMEMBER"),
        *_commands(_not_empty, "HGETALL HKEYS HVALS HLEN SMEMBERS SCARD ZCARD LLEN"),
        *_commands(_time_to_live, "TTL PTTL EXPIRETIME PEXPIRETIME"),
        *_commands(_kind, "TYPE"),
        *_commands(_each_given, "MGET"),
        *_commands(_number_found, "EXISTS TOUCH"),
        *_commands(_first_of_one, "PFCOUNT"),
        *_commands(_get_and_set, "GETSET"),
        *_commands(_get_and_delete, "GETDEL"),
        # These say whether what was asked for was there: the field, the range, the member.
        *_commands(_given, "HGET LINDEX ZSCORE"),
        *_commands(_any_given, "HMGET"),
        *_commands(_not_empty, "STRLEN GETRANGE SUBSTR LRANGE XLEN XRANGE XREVRANGE"),
        *_commands(_not_empty, "ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZRANGEBYLEX"),
        # These write.
        *_commands(_set, "SET"),
        *_commands(_stored, "SETEX PSETEX HSET HMSET"),
        *_commands(_stored_if_new, "SETNX"),
        *_commands(_all_stored, "MSET MSETNX"),
        *_commands(_number_deleted, "DEL UNLINK"),
    ]
)

_OF_ONE_KEY = frozenset({_given, _not_empty, _any_given, _get_and_set, _get_and_delete})
