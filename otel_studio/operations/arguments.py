"""Checks what operations are told by their users: services, exception types, names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def checked_service(service: str | None) -> str | None:
    """Return the name of a service, or `None` where none is given.

    Raises:
        TypeError: if it is anything else than a non-empty text.
    """
    if service is not None and (not isinstance(service, str) or not service):
        raise TypeError(
            f"service is a non-empty text, not {service!r}: leave it out for the module's name"
        )
    return service


def exception_types(
    expected: type[BaseException] | Iterable[type[BaseException]],
) -> tuple[type[BaseException], ...]:
    """Return one exception type or several as a tuple.

    Raises:
        TypeError: if it is anything else.
    """
    several = isinstance(expected, Iterable) and not isinstance(expected, (type, str))
    kinds: tuple[Any, ...] = tuple(expected) if several else (expected,)  # type: ignore[arg-type]
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(
                f"expected= holds exception types, not {kind!r}: "
                "write expected=(FileNotFoundError,)"
            )
    return kinds


def texts(value: str | Iterable[str], what: str) -> tuple[str, ...]:
    """Return one text or several as a tuple.

    Args:
        value: what was given.
        what: says in an error what it is to hold.

    Raises:
        TypeError: if it is anything else.
    """
    found = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    for text in found:
        if not isinstance(text, str):
            raise TypeError(f"{what} as text, not {text!r}: give a text or several in a tuple")
    return found
