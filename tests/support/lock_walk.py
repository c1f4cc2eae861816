"""Finds the locks of a package: in its source, and in what lives of it now."""

from __future__ import annotations

import _thread
import ast
import functools
import gc
import queue
import sys
import threading
import types
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

#: By module: what makes a lock, or is one inside.
MAKERS: Final = {
    "threading": (
        "Lock",
        "RLock",
        "Event",
        "Condition",
        "Semaphore",
        "BoundedSemaphore",
        "Barrier",
        "Timer",
    ),
    "_thread": ("allocate_lock", "allocate", "LockType", "RLock"),
    "queue": ("Queue", "LifoQueue", "PriorityQueue", "SimpleQueue"),
    "_queue": ("SimpleQueue",),
    "multiprocessing": ("Lock", "RLock", "Event", "Condition", "Semaphore", "Queue"),
    "concurrent.futures": ("ThreadPoolExecutor", "ProcessPoolExecutor", "Future"),
}
#: Under Python 3.11 it holds a lock of its own while it calls the function.
if sys.version_info < (3, 12):
    MAKERS["functools"] = ("cached_property",)

_LOCKS: Final[tuple[type, ...]] = (
    type(threading.Lock()),
    type(threading.RLock()),
    _thread.RLock,
    threading.Event,
    threading.Condition,
    threading.Semaphore,
    threading.Barrier,
    queue.Queue,
    queue.SimpleQueue,
    *((functools.cached_property,) if sys.version_info < (3, 12) else ()),
)


def made_in(source: str) -> list[tuple[int, str]]:
    """Return where a module's source makes locks, or could: each line, and what stands there.

    Args:
        source: the module's text. An annotation counts too: what is made elsewhere and kept
            here is no better.
    """
    tree = ast.parse(source)
    modules: dict[str, str] = {}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in MAKERS:
                    modules[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom) and node.module in MAKERS:
            found += [
                (node.lineno, f"{node.module}.{alias.name}")
                for alias in node.names
                if alias.name in (*MAKERS[node.module], "*")
            ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            module = modules.get(ast.unparse(node.value))
            if module is not None and node.attr in MAKERS[module]:
                found.append((node.lineno, f"{module}.{node.attr}"))
    return sorted(found)


def sources_of(package: Path) -> Iterator[tuple[str, str]]:
    """Yield each module of a package, by its path inside the package, with its source."""
    for file in sorted(package.rglob("*.py")):
        yield file.relative_to(package).as_posix(), file.read_text()


def is_lock(value: object) -> bool:
    """Tell whether a value is a lock, or holds one to wait for."""
    return isinstance(value, _LOCKS)


def locks_alive(package: str) -> Iterator[tuple[str, object]]:
    """Yield every lock that a module, class or instance of a package holds now.

    Looked at are attributes, slots, and the items of containers in them.

    Args:
        package: its name; what is inside other packages is theirs.

    Yields:
        where it is, in words, and the lock.
    """
    for name, module in sorted(sys.modules.items()):
        if isinstance(module, types.ModuleType) and _inside(name, package):
            for key, value in list(vars(module).items()):
                yield from _in_value(f"{name}.{key}", value)
    for instance in gc.get_objects():
        kind = type(instance)
        if isinstance(instance, type):
            if _inside(instance.__module__, package):
                for key, value in list(vars(instance).items()):
                    yield from _in_value(f"{_name(instance)}.{key}", value)
        elif _inside(getattr(kind, "__module__", None), package):
            for key, value in _attributes(instance):
                yield from _in_value(f"{_name(kind)} object: {key}", value)


def _inside(module: object, package: str) -> bool:
    return isinstance(module, str) and (module == package or module.startswith(f"{package}."))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _attributes(instance: object) -> Iterator[tuple[str, Any]]:
    try:
        # As the class would, not as an instance that answers for another object does.
        own = object.__getattribute__(instance, "__dict__")
    except AttributeError:
        own = {}
    yield from list(own.items())
    for kind in type(instance).__mro__:
        for name, member in vars(kind).items():
            if isinstance(member, types.MemberDescriptorType):
                try:
                    yield name, member.__get__(instance, type(instance))
                except AttributeError:  # a slot that is empty
                    pass


def _in_value(where: str, value: Any) -> Iterator[tuple[str, object]]:
    if is_lock(value):
        yield where, value
    elif type(value) is dict:
        for key, item in list(value.items()):
            if is_lock(item):
                yield f"{where}[{key!r}]", item
    elif type(value) in (list, tuple, set, frozenset, deque):
        for number, item in enumerate(list(value)):
            if is_lock(item):
                yield f"{where}[{number}]", item
