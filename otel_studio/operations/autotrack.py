"""Tracks the public callables of named modules at import, without a change to their code.

A finder at the front of `sys.meta_path` lets the other finders find the module, and
tracks its callables once its code has run. No source is rewritten.
"""

from __future__ import annotations

import inspect
import sys
import threading
from fnmatch import fnmatchcase
from types import ModuleType
from typing import TYPE_CHECKING, Any

from otel_studio.base.guard import guarded, report_internal_error, warn_once

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.machinery import ModuleSpec

_PLACE = "tracking a module at import"
#: Packages whose own functions are never tracked, whatever a pattern such as "*" says.
_LEFT_ALONE = sys.stdlib_module_names | {"otel_studio", "opentelemetry"}


def install(patterns: Iterable[str]) -> None:
    """Track the callables that the patterns name: at once where imported, else at import.

    Only functions and classes that are defined in a matching module are tracked, and
    no name with a leading underscore. A second call adds its patterns.

    Args:
        patterns: modules ("shop.services.*": every module below `shop.services`), or
            names in one ("shop.jobs:Worker"). `*` stands for any text.

    Example:
        >>> install(["shop.services.*", "shop.jobs:Worker"])
        >>> uninstall()
    """
    _finder.add(patterns)


def uninstall() -> None:
    """Stop tracking at import. What is tracked already stays so."""
    _finder.remove()


class _TrackingFinder:
    """Finds nothing itself: has the finders behind it find, and wraps the loader they chose."""

    def __init__(self) -> None:
        self._patterns: tuple[str, ...] = ()
        self._at_work = threading.local()

    def add(self, patterns: Iterable[str]) -> None:
        new = tuple(pattern for pattern in patterns if pattern not in self._patterns)
        self._patterns += new
        if not self._patterns:
            return
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        for module in list(sys.modules.values()):
            self.track(module, new)

    def remove(self) -> None:
        self._patterns = ()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the other finders' spec with a loader that tracks, or `None` to stand aside."""
        if not any(_is_module(name, pattern) for pattern in self._patterns):
            return None
        searching: set[str] = self._at_work.__dict__.setdefault("searching", set())
        if name in searching:  # another hook of this kind asks all finders again
            return None
        searching.add(name)
        try:
            spec = self._find_behind(name, path, target)
        finally:
            searching.discard(name)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _TrackingLoader(spec.loader, self)  # type: ignore[assignment]
        return spec

    def _find_behind(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        finders: list[Any] = list(sys.meta_path)  # another thread may take a finder out
        behind = finders.index(self) + 1 if self in finders else 0
        for finder in finders[behind:]:
            find_spec = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find_spec(name, path, target) if find_spec else None
            if spec is not None:
                return spec
        return None

    @guarded(_PLACE, default=None)
    def track(self, module: Any, patterns: Iterable[str] | None = None) -> None:
        """Track what the patterns (all that are installed, unless given) name in a module."""
        if not isinstance(module, ModuleType):  # sys.modules may hold anything
            return
        for pattern in self._patterns if patterns is None else patterns:
            if _is_module(module.__name__, pattern):
                _track_names(module, pattern.partition(":")[2])


class _TrackingLoader:
    """A loader in all it does, that also tracks the module whose code it has run."""

    def __init__(self, loader: Any, finder: _TrackingFinder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        # The module and its tools (resources, pickling, reload) are to see the real loader.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._finder.track(module)


def _is_module(name: str, pattern: str) -> bool:
    """Say whether a pattern, or its part before the colon, means the module of this name."""
    matches = fnmatchcase(name, pattern.partition(":")[0])
    return matches and name.partition(".")[0] not in _LEFT_ALONE


def _track_names(module: ModuleType, name_pattern: str) -> None:
    """Track the functions and classes defined in a module whose names match (all, for "")."""
    found = False
    for name, value in list(vars(module).items()):
        if name.startswith("_") or (name_pattern and not fnmatchcase(name, name_pattern)):
            continue
        try:
            if _is_defined_in(module, value):
                found = True
                _track_value(module, name, value)
        except Exception as error:
            report_internal_error(f"{_PLACE} ({module.__name__}:{name})", error)
    if name_pattern and not found:
        warn_once(
            "autotrack",
            f"{module.__name__}:{name_pattern}",
            "%s has no public function or class %s of its own to track.",
            module.__name__,
            name_pattern,
        )


def _is_defined_in(module: ModuleType, value: Any) -> bool:
    """Say whether a value is a function or class of the module's own, and no exception."""
    if isinstance(value, type):
        if issubclass(value, BaseException):
            return False
    elif not inspect.isfunction(value):
        return False
    return bool(value.__module__ == module.__name__)


def _track_value(module: ModuleType, name: str, value: Any) -> None:
    from otel_studio.operations.decorator import track
    from otel_studio.operations.instrument_services import instrument
    from otel_studio.operations.standing_in import TRACKED_MARK

    if isinstance(value, type):
        instrument(value, service=module.__name__)
    elif not hasattr(value, TRACKED_MARK):
        setattr(module, name, track(service=module.__name__)(value))


_finder = _TrackingFinder()
