"""What is kept of an exception: its type, message and code places, without holding its frames."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import traceback
from types import CodeType, TracebackType

from otel_studio.base.text import MAX_MESSAGE, safe, safe_line

#: Frames kept at each end of a traceback; what lies between (deep recursion) is counted.
_OUTER_FRAMES = 10
_INNER_FRAMES = 40
#: Exceptions followed along `__cause__` and `__context__`.
_MAX_CHAIN = 8

#: In the path of each instrumentation's package, also where it is installed in place.
_INSTRUMENTATION = os.sep + "otel_studio_instrumentation_"
_PACKAGE_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARY_FOLDERS = tuple(
    {
        # What the interpreter loaded itself from tells more than its configuration does.
        os.path.join(os.path.dirname(os.__file__), ""),
        *(
            os.path.join(path, "")
            for name in ("stdlib", "platstdlib", "purelib", "platlib")
            if (path := sysconfig.get_paths().get(name))
        ),
    }
)


def type_name(error_type: type[BaseException]) -> str:
    """Return the canonical class name that `error.type` and `exception.type` carry.

    Args:
        error_type: the exception's class.

    Example:
        >>> type_name(ValueError), type_name(__import__("json").JSONDecodeError)
        ('ValueError', 'json.decoder.JSONDecodeError')
    """
    module = error_type.__module__
    return safe_line(
        error_type.__qualname__ if module == "builtins" else f"{module}.{error_type.__qualname__}"
    )


def safe_text(value: object, limit: int = MAX_MESSAGE) -> str:
    """Return `str(value)` made safe and short; a `__str__` that raises gives a placeholder.

    Args:
        value: anything; bytes are taken for UTF-8.
        limit: the most characters returned; a longer text ends in an ellipsis.
    """
    if type(value) is str:  # nothing of the program's runs, and what comes up is not about it
        text = value
    else:
        try:
            text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        except Exception as error:
            name, its = type(value).__name__, type(error).__name__
            return safe_line(f"<{name}: its __str__ raised {its}>")
    return safe(text, limit)


def is_library_file(filename: str) -> bool:
    """Tell whether a source file belongs to Python, an installed package or this SDK.

    A relative path is what compiled extensions name as their source (`pandas/_libs/lib.pyx`):
    Python's own loaders give absolute ones. `<stdin>` and the like are the user's.

    Args:
        filename: the `co_filename` of a code object.
    """
    if filename.startswith("<"):
        return filename.startswith("<frozen")
    return (
        filename.startswith(_LIBRARY_FOLDERS)
        or is_own_file(filename)
        or not os.path.isabs(filename)
    )


def is_own_file(filename: str) -> bool:
    """Tell whether a source file is one of this SDK's, or of its instrumentations'."""
    return filename.startswith(_PACKAGE_FOLDER) or _INSTRUMENTATION in filename


class Failure:
    """An exception, reduced to what a report needs.

    Holds code objects and line numbers, never frames: the user's local variables
    are not kept alive. The stack text is made only when somebody reads it.

    Args:
        error: the exception, while or after it is handled.
    """

    __slots__ = ("_omitted", "_text", "chained", "frames", "is_cause", "message", "type_name")

    def __init__(self, error: BaseException) -> None:
        self.type_name = type_name(type(error))
        self.message = safe_text(error)
        self.frames, self._omitted = _code_places(error.__traceback__)
        self.chained: Failure | None = None
        self.is_cause = False
        self._text: str | None = None

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return the failure with the exceptions that led to it, at most eight in all."""
        first = current = cls(error)
        seen = {id(error)}
        for _ in range(_MAX_CHAIN - 1):
            cause = error.__cause__
            following = (
                cause if cause is not None or error.__suppress_context__ else error.__context__
            )
            if following is None or id(following) in seen:
                break
            seen.add(id(following))
            current.chained = cls(following)
            current.is_cause = cause is not None
            current, error = current.chained, following
        return first

    @property
    def place(self) -> str:
        """Where it was raised: file and function of the innermost frame of the user's own code.

        Without line numbers, so that an edit above it does not open a new error group.
        """
        for code, _ in reversed(self.frames):
            if not is_library_file(code.co_filename):
                return _place(code)
        return _place(self.frames[-1][0]) if self.frames else "unknown"

    def stack(self) -> str:
        """Return the traceback text, in the interpreter's own form."""
        if self._text is None:
            parts: list[str] = []
            if self.chained is not None:
                parts.append(self.chained.stack())
                parts.append(
                    "\nThe above exception was the direct cause of the following exception:\n\n"
                    if self.is_cause
                    else "\nDuring handling of the above exception, another exception occurred:\n\n"
                )
            if self.frames:
                parts.append("Traceback (most recent call last):\n")
                parts.extend(self._formatted_frames())
            parts.append(
                f"{self.type_name}: {self.message}\n" if self.message else f"{self.type_name}\n"
            )
            self._text = safe("".join(parts), None)
        return self._text

    def _formatted_frames(self) -> list[str]:
        summaries = [
            traceback.FrameSummary(code.co_filename, line, code.co_name)
            for code, line in self.frames
        ]
        lines = traceback.StackSummary.from_list(summaries).format()
        if self._omitted:
            lines.insert(_OUTER_FRAMES, f"  [{self._omitted} frames left out]\n")
        return lines


def _code_places(tb: TracebackType | None) -> tuple[tuple[tuple[CodeType, int], ...], int]:
    places: list[tuple[CodeType, int]] = []
    while tb is not None:
        code = tb.tb_frame.f_code
        if not is_own_file(code.co_filename):
            places.append((code, tb.tb_lineno or 0))
        tb = tb.tb_next
    omitted = len(places) - _OUTER_FRAMES - _INNER_FRAMES
    if omitted > 0:
        places = places[:_OUTER_FRAMES] + places[-_INNER_FRAMES:]
    return tuple(places), max(omitted, 0)


def _place(code: CodeType) -> str:
    name = code.co_qualname
    if name == "<module>":  # what compiled extensions say of every function of theirs
        name = code.co_name
    return safe_line(f"{_short_path(code.co_filename)} in {name}")


@functools.lru_cache(maxsize=1_024)
def _short_path(filename: str) -> str:
    """Return the path below the `sys.path` entry it was imported from, as imports name it."""
    for entry in sys.path:
        try:
            folder = os.path.join(os.path.abspath(entry or os.curdir), "")
        except OSError:  # the working directory was deleted
            continue
        if filename.startswith(folder):
            return filename[len(folder) :]
    return filename
