"""What is kept of an exception: its type, message and code places, without holding its frames."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from types import CodeType, TracebackType

from otel_studio.base.failure_text import OUTER_FRAMES, traceback_text
from otel_studio.base.grpc_status import grpc_status
from otel_studio.base.text import MAX_MESSAGE, safe, safe_line

#: Frames kept at the inner end of a traceback; what lies between (deep recursion) is counted.
_INNER_FRAMES = 40
#: Exceptions followed along `__cause__` and `__context__`.
_MAX_CHAIN = 8
#: Exceptions kept of one group, groups within one another, and kept of all of them together.
_MAX_WIDTH = 15
_MAX_DEPTH = 10
_MAX_MEMBERS = 20
#: Notes kept of one exception, and characters of each.
_MAX_NOTES = 20
_MAX_NOTE_CHARACTERS = 1_024
#: Their tracebacks end in the line of source that is wrong, or in a name that may be meant.
_KINDS_WITH_OWN_LINES = (SyntaxError, NameError) if sys.version_info >= (3, 12) else (SyntaxError,)

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


def message_of(error: BaseException) -> str:
    """Return what an exception says; one of gRPC's its status, which its text lacks or hides.

    Args:
        error: with its traceback.
    """
    status = grpc_status(error)
    return safe_text(error if status is None else status.text)


def place_of(filename: str, function: str) -> str:
    """Return how a place in the code is written: file, as imports name it, and function."""
    return f"{_short_path(filename)} in {function}"


class Failure:
    """An exception, reduced to what a report needs.

    Holds code objects and line numbers, never frames: the user's local variables
    are not kept alive. The stack text is made only when somebody reads it.

    Args:
        error: the exception, while or after it is handled.
    """

    __slots__ = (
        "_text",
        "chained",
        "frames",
        "is_cause",
        "member_count",
        "members",
        "message",
        "notes",
        "omitted",
        "own_lines",
        "type_name",
    )

    def __init__(self, error: BaseException) -> None:
        self.type_name = type_name(type(error))
        self.message = message_of(error)
        self.frames, self.omitted = _code_places(error.__traceback__)
        #: The last lines of its traceback, where they are more than its type and message.
        self.own_lines = _own_lines(error) if isinstance(error, _KINDS_WITH_OWN_LINES) else ()
        self.notes = () if self.own_lines else _notes_of(error)
        self.chained: Failure | None = None
        self.is_cause = False
        #: Of a group, those of its exceptions that are kept, and how many there are.
        self.members: tuple[Failure, ...] = ()
        self.member_count = 0
        self._text: str | None = None

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return the failure with the exceptions that led to it and those that it groups.

        At most eight led to it, and of a group twenty are kept.
        """
        return cls._of(error, _Budget(), 0)

    @classmethod
    def _of(cls, error: BaseException, budget: _Budget, depth: int) -> Failure:
        first = current = cls(error)
        budget.seen.add(id(error))
        for number in range(1, _MAX_CHAIN + 1):
            cause = error.__cause__
            following = (
                cause if cause is not None or error.__suppress_context__ else error.__context__
            )
            if (
                following is not None
                and number < _MAX_CHAIN
                and id(following) not in budget.seen
                and (not depth or budget.take())
            ):
                budget.seen.add(id(following))
                current.chained = cls(following)
                current.is_cause = cause is not None
            current._keep_members(error, budget, depth)
            if following is None or current.chained is None:
                break
            current, error = current.chained, following
        return first

    def _keep_members(self, error: BaseException, budget: _Budget, depth: int) -> None:
        if not isinstance(error, BaseExceptionGroup):
            return
        self.member_count = len(error.exceptions)
        if depth < _MAX_DEPTH:
            self.members = tuple(
                self._of(member, budget, depth + 1)
                for member in error.exceptions[:_MAX_WIDTH]
                if budget.take()
            )

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
            self._text = safe(traceback_text(self), None)
        return self._text


class _Budget:
    """Counts the exceptions that are kept of all groups of one failure."""

    __slots__ = ("_left", "seen")

    def __init__(self) -> None:
        self._left = _MAX_MEMBERS
        #: Those that are kept: what led to several of them is told once.
        self.seen: set[int] = set()

    def take(self) -> bool:
        """Tell whether one more is kept."""
        self._left -= 1
        return self._left >= 0


def _notes_of(error: BaseException) -> tuple[str, ...]:
    try:
        notes = getattr(error, "__notes__", None)
        if notes is None:
            return ()
        if not isinstance(notes, Sequence) or isinstance(notes, str | bytes):
            return (safe_text(notes, _MAX_NOTE_CHARACTERS),)
        kept = tuple(safe_text(note, _MAX_NOTE_CHARACTERS) for note in notes[:_MAX_NOTES])
        left_out = len(notes) - len(kept)
    except Exception:  # what stands there is the program's own
        return ()
    return (*kept, f"[{left_out} notes left out]") if left_out else kept


def _own_lines(error: BaseException) -> tuple[str, ...]:
    """Return the last lines of a traceback as Python writes them, with what only it finds out."""
    try:
        # No frame is followed: one's names may be searched for what a wrong name may mean.
        summary = traceback.TracebackException(
            type(error), error, error.__traceback__, limit=0, lookup_lines=False, compact=True
        )
        lines = list(summary.format_exception_only())
    except Exception:  # the program's own class, or what it was given, is not as it should be
        return ()
    return tuple(safe_text(line) for line in lines[:_MAX_NOTES])


def _code_places(tb: TracebackType | None) -> tuple[tuple[tuple[CodeType, int], ...], int]:
    places: list[tuple[CodeType, int]] = []
    while tb is not None:
        code = tb.tb_frame.f_code
        if not is_own_file(code.co_filename):
            places.append((code, tb.tb_lineno or 0))
        tb = tb.tb_next
    omitted = len(places) - OUTER_FRAMES - _INNER_FRAMES
    if omitted > 0:
        places = places[:OUTER_FRAMES] + places[-_INNER_FRAMES:]
    return tuple(places), max(omitted, 0)


def _place(code: CodeType) -> str:
    name = code.co_qualname
    if name == "<module>":  # what compiled extensions say of every function of theirs
        name = code.co_name
    return safe_line(place_of(code.co_filename, name))


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
