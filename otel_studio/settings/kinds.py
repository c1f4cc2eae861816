"""The kinds of value that a setting takes: how each is read from text and checked.

A kind raises `UnusableError` without words for a value that it cannot use, or lets out what
the conversion raised; the loader says which setting, what was expected and what happens.
"""

from __future__ import annotations

import builtins
import dataclasses
import math
import operator
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol, TypeVar

V_co = TypeVar("V_co", covariant=True)


class UnusableError(ValueError):
    """The value is not of this kind, or out of its range."""


class Kind(Protocol[V_co]):
    """One kind of value."""

    @property
    def expected(self) -> str:
        """What a user has to give, in words: "a whole number from 1 to 10"."""
        raise NotImplementedError

    def from_text(self, text: str) -> V_co:
        """Return the value that a variable's text (stripped, not empty) stands for."""
        raise NotImplementedError

    def check(self, value: object) -> V_co:
        """Return the value that a keyword or a key of the file stands for."""
        raise NotImplementedError

    def to_text(self, value: Any) -> str:
        """Return text from which `from_text` makes the same value."""
        raise NotImplementedError


@dataclasses.dataclass(eq=False)
class Text:
    """Any text, or with `pattern` the text that matches it whole."""

    expected: str = "text"
    pattern: str = r"(?s).+"

    def from_text(self, text: str) -> str:
        return self.check(text)

    def check(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value.strip()):
            raise UnusableError
        return value.strip()

    def to_text(self, value: Any) -> str:
        return str(value)


@dataclasses.dataclass(eq=False)
class OneOf:
    """One of a few words, in any case."""

    words: tuple[str, ...]

    @property
    def expected(self) -> str:
        return f"one of {', '.join(self.words)}"

    def from_text(self, text: str) -> str:
        return self.check(text)

    def check(self, value: object) -> str:
        if not isinstance(value, str) or value.strip().lower() not in self.words:
            raise UnusableError
        return value.strip().lower()

    def to_text(self, value: Any) -> str:
        return str(value)


@dataclasses.dataclass(eq=False)
class Boolean:
    """True or false; `strict` takes only these two words, as OpenTelemetry's own switches do."""

    strict: bool = False

    @property
    def expected(self) -> str:
        return "true or false"

    def from_text(self, text: str) -> bool:
        word = text.lower()
        if word == "true" or (not self.strict and word in ("1", "yes", "on")):
            return True
        if word == "false" or (not self.strict and word in ("0", "no", "off")):
            return False
        raise UnusableError

    def check(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise UnusableError
        return value

    def to_text(self, value: Any) -> str:
        return "true" if value else "false"


@dataclasses.dataclass(eq=False)
class Integer:
    """A whole number within bounds, both included."""

    minimum: int
    maximum: int

    @property
    def expected(self) -> str:
        return f"a whole number from {self.minimum} to {self.maximum}"

    def from_text(self, text: str) -> int:
        if len(text) > 32:  # int() of a very long text is slow, and refused with other words
            raise UnusableError
        return self.check(int(text))

    def check(self, value: object) -> int:
        if isinstance(value, bool):
            raise UnusableError
        try:
            number = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            raise UnusableError from None
        if not self.minimum <= number <= self.maximum:
            raise UnusableError
        return number

    def to_text(self, value: Any) -> str:
        return str(value)


@dataclasses.dataclass(eq=False)
class Seconds:
    """A duration in seconds within bounds; `per_second` is what a variable's unit is counted in."""

    minimum: float
    maximum: float
    per_second: int = 1

    @property
    def expected(self) -> str:
        return f"a number of seconds from {self.minimum:g} to {self.maximum:.0f}"

    @property
    def expected_in_variable(self) -> str:
        if self.per_second == 1:
            return self.expected
        low, high = self.minimum * self.per_second, self.maximum * self.per_second
        return f"a number of milliseconds from {low:.0f} to {high:.0f}"

    def from_text(self, text: str) -> float:
        return self.check(float(text) / self.per_second)

    def check(self, value: object) -> float:
        seconds = _finite(value)
        if not self.minimum <= seconds <= self.maximum:
            raise UnusableError
        return seconds

    def to_text(self, value: Any) -> str:
        return repr(value * self.per_second)


@dataclasses.dataclass(eq=False)
class Bounds:
    """Rising numbers of seconds, for the buckets of a histogram."""

    expected: str = "1 to 200 rising numbers of seconds above 0"

    def from_text(self, text: str) -> tuple[float, ...]:
        return self.check([float(part) for part in text.split(",")])

    def check(self, value: object) -> tuple[float, ...]:
        if isinstance(value, str) or not isinstance(value, Sequence) or not 1 <= len(value) <= 200:
            raise UnusableError
        bounds = tuple(_finite(item) for item in value)
        if bounds[0] <= 0 or any(low >= high for low, high in pairwise(bounds)):
            raise UnusableError
        return bounds

    def to_text(self, value: Any) -> str:
        return ",".join(map(repr, value))


@dataclasses.dataclass(eq=False)
class Texts:
    """Several texts, each matching `pattern`; in a variable they are split at `separator`."""

    expected: str
    pattern: str = r"(?s).+"
    separator: str = ","
    regular_expressions: bool = False

    def from_text(self, text: str) -> tuple[str, ...]:
        return self.check([part for part in text.split(self.separator) if part.strip()])

    def check(self, value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            return self.from_text(value)
        if not isinstance(value, Sequence | set | frozenset):
            raise UnusableError
        texts = []
        for item in value:
            if not isinstance(item, str) or not re.fullmatch(self.pattern, item.strip()):
                raise UnusableError
            if self.regular_expressions:
                _compiled(item.strip())
            texts.append(item.strip())
        return tuple(dict.fromkeys(texts))

    def to_text(self, value: Any) -> str:
        return self.separator.join(value)


@dataclasses.dataclass(eq=False)
class QualifiedNames:
    """Full names of classes, module and qualified name joined by dots; builtins go without."""

    expected: str = 'a list of full names of exceptions such as "shop.errors.OutOfStock"'

    def from_text(self, text: str) -> tuple[str, ...]:
        return self.check([part for part in text.split(",") if part.strip()])

    def check(self, value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            return self.from_text(value)
        if not isinstance(value, Sequence | set | frozenset):
            raise UnusableError
        names = []
        for item in value:
            if not isinstance(item, str):
                raise UnusableError
            name = item.strip().removeprefix("builtins.")
            parts = name.replace(".<locals>", "").split(".")
            if not all(part.isidentifier() for part in parts):
                raise UnusableError
            if len(parts) == 1 and not _is_builtin_exception(name):
                raise UnusableError
            names.append(name)
        return tuple(dict.fromkeys(names))

    def to_text(self, value: Any) -> str:
        return ",".join(value)


def _is_builtin_exception(name: str) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


@dataclasses.dataclass(eq=False)
class Exporters:
    """Names of exporters: a few known ones, and any that an installed package registers."""

    known: tuple[str, ...]
    group: str

    @property
    def expected(self) -> str:
        return f"none, or a list out of {', '.join(self.known)} and installed exporters"

    def from_text(self, text: str) -> tuple[str, ...]:
        return self.check(text.split(","))

    def check(self, value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            return self.from_text(value)
        if not isinstance(value, Sequence):
            raise UnusableError
        names = [item.strip().lower() if isinstance(item, str) else "" for item in value]
        if names == ["none"]:
            return ()
        for name in names:
            if name not in self.known and not _registered(self.group, name):
                raise UnusableError
        return tuple(dict.fromkeys(names))

    def to_text(self, value: Any) -> str:
        return ",".join(value) or "none"


@dataclasses.dataclass(eq=False)
class SamplerChoice:
    """A sampler's name from OpenTelemetry's specification or an installed package, or a sampler."""

    known: tuple[str, ...]
    group: str = "opentelemetry_traces_sampler"

    @property
    def expected(self) -> str:
        return f"one of {', '.join(self.known)}, an installed sampler's name, or a Sampler"

    def from_text(self, text: str) -> str:
        name = text.lower()
        if name in self.known:
            return name
        if _registered(self.group, text):
            return text
        raise UnusableError

    def check(self, value: object) -> Any:
        if isinstance(value, str):
            return self.from_text(value.strip())
        if not callable(getattr(value, "should_sample", None)):
            raise UnusableError
        return value

    def to_text(self, value: Any) -> str:
        return str(value)


@dataclasses.dataclass(eq=False)
class NumberOrText:
    """What a sampler takes: a number, or text whose meaning is the sampler's own."""

    expected: str = "a number, or text that the sampler understands"

    def from_text(self, text: str) -> float | str:
        try:
            return _finite(float(text))
        except ValueError:
            return text

    def check(self, value: object) -> float | str:
        return self.from_text(value.strip()) if isinstance(value, str) else _finite(value)

    def to_text(self, value: Any) -> str:
        return "" if value is None else str(value)


@dataclasses.dataclass(eq=False)
class Attributes:
    """Attributes by name; as text `name=value,name=value`, each percent-encoded."""

    expected: str = "attributes as name=value,name=value"

    def from_text(self, text: str) -> dict[str, Any]:
        from urllib.parse import unquote

        attributes = {}
        for pair in text.split(","):
            name, found, value = pair.partition("=")
            if not found or not name.strip():
                raise UnusableError
            attributes[unquote(name.strip())] = unquote(value.strip())
        return attributes

    def check(self, value: object) -> dict[str, Any]:
        if isinstance(value, str):
            return self.from_text(value)
        if not isinstance(value, Mapping):
            raise UnusableError
        for name, item in value.items():
            items = item if isinstance(item, list | tuple) else (item,)
            if not isinstance(name, str) or not name:
                raise UnusableError
            if not all(isinstance(one, str | bool | int | float) for one in items):
                raise UnusableError
        return dict(value)

    def to_text(self, value: Any) -> str:
        from urllib.parse import quote

        return ",".join(f"{quote(k, safe='')}={quote(str(v), safe='')}" for k, v in value.items())


def _finite(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnusableError
    number = float(value)  # a whole number too large for it raises OverflowError
    if not math.isfinite(number):
        raise UnusableError
    return number


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        raise UnusableError from None


def _registered(group: str, name: str) -> bool:
    if not name:
        return False
    from importlib.metadata import entry_points  # slow, and only unusual names need it

    return bool(entry_points(group=group, name=name))
