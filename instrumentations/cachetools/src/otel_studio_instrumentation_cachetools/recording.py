"""What is put in place of the methods of cachetools' classes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import get_ident
from typing import Any

import cachetools

from otel_studio.instrumentation import Function, Patches

from .book import SILENT, Book
from .naming import origin_of

_ABSENT: Any = object()


def patch(patches: Patches, book: Book) -> None:
    """Replace the methods of every class of cachetools.

    The classes reach their base's methods both by name and by defaults bound at definition,
    so each class has its own methods replaced, and what runs inside another recorded method
    does not count as a read.

    Args:
        patches: makes the replacements.
        book: knows the caches.
    """
    makers: dict[str, Callable[[Function], Function]] = {
        "__getitem__": lambda original: _getitem(original, patches, book),
        "__setitem__": lambda original: _setitem(original, patches, book),
        "__delitem__": lambda original: _delitem(original, patches, book),
        "popitem": lambda original: _under("deleted", original, patches, book),
        "expire": lambda original: _under("expired", original, patches, book, always=True),
    }
    for owner in [value for value in vars(cachetools).values() if _is_cache_class(value)]:
        for name, make in makers.items():
            if name in vars(owner):
                patches.replace(owner, name, make)
    base = cachetools.Cache
    patches.replace(base, "__init__", lambda original: _init(original, patches, book))
    patches.replace(base, "get", lambda original: _get(original, patches, book))
    patches.replace(base, "clear", lambda original: _clear(original, patches, book))
    patches.replace(base, "pop", lambda original: _under("deleted", original, patches, book))
    patches.replace(base, "setdefault", lambda original: _under("size", original, patches, book))
    for module in (cachetools, sys.modules.get("cachetools.func")):
        if module is not None:
            patches.replace(module, "cached", lambda original: _cached(original, patches, book))


def _is_cache_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, cachetools.Cache)


def _getitem(original: Function, patches: Patches, book: Book) -> Function:
    def getitem(self: Any, key: Any, *args: Any, **kwargs: Any) -> Any:
        followed = book.of(self) if patches.active else None
        if followed is None or (followed.inside and get_ident() in followed.inside):
            return original(self, key, *args, **kwargs)
        found = not followed.loads_missing or key in self
        try:
            value = original(self, key, *args, **kwargs)
        except KeyError:
            followed.recorder.miss(key)
            raise
        if found:
            followed.recorder.hit(key)
        else:
            followed.recorder.miss(key)
        return value

    return getitem


def _get(original: Function, patches: Patches, book: Book) -> Function:
    def get(self: Any, key: Any, default: Any = None) -> Any:
        if not patches.active:
            return original(self, key, default)
        value = original(self, key, _ABSENT)  # what is there, it reads with []
        if value is not _ABSENT:
            return value
        followed = book.of(self)
        if followed is not None and get_ident() not in followed.inside:
            followed.recorder.miss(key)
        return default

    return get


def _setitem(original: Function, patches: Patches, book: Book) -> Function:
    storing = _under("size", original, patches, book)

    def setitem(self: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> None:
        storing(self, key, value, *args, **kwargs)
        followed = book.of(self) if patches.active else None
        if followed is not None:
            followed.recorder.set(key, followed.size(value))

    return setitem


def _delitem(original: Function, patches: Patches, book: Book) -> Function:
    def delitem(self: Any, key: Any, *args: Any, **kwargs: Any) -> None:
        original(self, key, *args, **kwargs)
        followed = book.of(self) if patches.active else None
        if followed is not None:
            reason = followed.inside.get(get_ident(), "deleted")
            if reason is not SILENT:
                followed.recorder.evict(key, reason)

    return delitem


def _under(
    reason: str, original: Function, patches: Patches, book: Book, *, always: bool = False
) -> Function:
    """Return a method that says why it removes entries, unless it serves one that said so."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        followed = book.of(self) if patches.active else None
        if followed is None:
            return original(self, *args, **kwargs)
        thread = get_ident()
        before = followed.inside.get(thread)
        if before is None or (always and before is not SILENT):
            followed.inside[thread] = reason
        try:
            return original(self, *args, **kwargs)
        finally:
            if before is None:
                followed.inside.pop(thread, None)
            else:
                followed.inside[thread] = before

    return method


def _clear(original: Function, patches: Patches, book: Book) -> Function:
    silently = _under(SILENT, original, patches, book)

    def clear(self: Any) -> None:
        entries = cachetools.Cache.__len__(self)
        silently(self)
        followed = book.of(self) if patches.active else None
        if followed is not None:
            followed.recorder.clear(entries)

    return clear


def _init(original: Function, patches: Patches, book: Book) -> Function:
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if patches.active:
            book.made(self, origin_of(self, sys._getframe(1)))

    return init


def _cached(original: Function, patches: Patches, book: Book) -> Function:
    def cached(cache: Any, *args: Any, **kwargs: Any) -> Any:
        decorate = original(cache, *args, **kwargs)

        def decorator(function: Any) -> Any:
            if patches.active and isinstance(cache, cachetools.Cache):
                name = getattr(function, "__qualname__", type(function).__name__)
                service = getattr(function, "__module__", None) or "cachetools"
                book.name(cache, name, service, only_if_new=True)
            return decorate(function)

        return decorator

    return cached
