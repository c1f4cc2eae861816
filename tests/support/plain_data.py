"""Says whether a class is plain data: what the codec of readings can write and read back."""

from __future__ import annotations

import collections.abc
import dataclasses
import types
import typing
from typing import Any

_SCALARS = (int, float, str, bool, type(None))


def unplain_fields(kind: Any, path: str = "") -> list[str]:
    """Return the fields below a type that are no plain data, each with where it stands."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _SCALARS or kind is Ellipsis:
        return []
    if origin in (typing.Union, types.UnionType, tuple, list, dict, collections.abc.Mapping):
        return [bad for one in arguments for bad in unplain_fields(one, path)]
    if dataclasses.is_dataclass(kind):
        parameters = kind.__dataclass_params__  # type: ignore[union-attr]
        if not parameters.frozen or not hasattr(kind, "__slots__"):
            return [f"{path}: {kind} is not frozen and slotted"]
        hints = typing.get_type_hints(kind)
        return [
            bad
            for field in dataclasses.fields(kind)
            for bad in unplain_fields(hints[field.name], f"{path}.{field.name}")
        ]
    return [f"{path}: {kind}"]
