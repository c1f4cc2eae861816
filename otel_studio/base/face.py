"""A module's public names, each loaded from where it is written when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    module: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a module's `__getattr__` and `__dir__` for names that live in other modules.

    Args:
        module: the name of the module that offers them.
        homes: the module in which each is written, by its name.

    Example:
        >>> find, names = lazy_names("shapes", {"Fraction": "fractions"})
        >>> find("Fraction")(1, 2), names()
        (Fraction(1, 2), ['Fraction'])
    """

    def find(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(home), name)

    return find, lambda: sorted(homes)
