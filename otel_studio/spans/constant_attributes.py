"""Attributes that every run of an operation starts with: made, checked and encoded once."""

from __future__ import annotations

from typing import Any


class ConstantAttributes(dict[str, Any]):
    """A dict that spans share until one of them is given an attribute of its own.

    Whoever reads many spans may note what it found out about it, and need not look again.
    """

    __slots__ = ("clean_for", "encoded")

    def __init__(self, attributes: dict[str, Any]) -> None:
        super().__init__(attributes)
        #: Who found no secret in it.
        self.clean_for: object = None
        #: The attributes in OTLP's form, once a span was encoded.
        self.encoded: bytes | None = None
