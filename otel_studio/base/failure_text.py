"""The text of a kept exception, in the form of the interpreter's own tracebacks."""

from __future__ import annotations

import textwrap
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from otel_studio.base.failure import Failure

#: Frames kept at the outer end of a traceback; those left out would follow them.
OUTER_FRAMES: Final = 10

_CAUSE: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"


def traceback_text(failure: Failure) -> str:
    """Return the traceback of an exception, with those that led to it and those that it groups.

    Args:
        failure: what was kept of it; source lines are read from their files now.
    """
    return "".join(_Writer().lines_of(failure))


class _Writer:
    """Writes one traceback; of a group's exceptions each is set in behind a line at its left."""

    def __init__(self) -> None:
        self._depth = 0
        #: Whether a line is still to be drawn below the last exception of a group.
        self._is_open = False

    def lines_of(self, failure: Failure) -> Iterator[str]:
        """Return the text in pieces."""
        chain = [failure]
        while (before := chain[-1].chained) is not None:
            chain.append(before)
        for one in reversed(chain):
            if one.chained is not None:
                yield self._set_in(_CAUSE if one.is_cause else _CONTEXT)
            if one.member_count:
                yield from self._group(one)
            else:
                if one.frames:
                    yield self._set_in("Traceback (most recent call last):\n")
                    yield from map(self._set_in, _frames(one))
                yield from map(self._set_in, _last_lines(one))

    def _group(self, group: Failure) -> Iterator[str]:
        is_outermost = not self._depth
        self._depth += is_outermost
        if group.frames:
            yield self._set_in(
                "Exception Group Traceback (most recent call last):\n", "+" if is_outermost else "|"
            )
            yield from map(self._set_in, _frames(group))
        yield from map(self._set_in, _last_lines(group))
        left_out = group.member_count - len(group.members)
        entries: list[Failure | None] = [*group.members, *([None] if left_out else [])]
        for number, member in enumerate(entries, 1):
            self._is_open = number == len(entries)
            title = "..." if member is None else number
            corner = "+-" if number == 1 else "  "
            yield f"{self._indent()}{corner}+---------------- {title} ----------------\n"
            self._depth += 1
            if member is None:
                yield self._set_in(f"and {left_out} more exception{'s' * (left_out > 1)}\n")
            else:
                yield from self.lines_of(member)
            if self._is_open and number == len(entries):
                yield f"{self._indent()}+------------------------------------\n"
                self._is_open = False
            self._depth -= 1
        self._depth -= is_outermost

    def _indent(self) -> str:
        return "  " * self._depth

    def _set_in(self, text: str, margin: str = "|") -> str:
        if not self._depth:
            return text
        return textwrap.indent(text, f"{self._indent()}{margin} ", bool)


def _frames(failure: Failure) -> list[str]:
    summaries = [
        traceback.FrameSummary(code.co_filename, line, code.co_name)
        for code, line in failure.frames
    ]
    lines = traceback.StackSummary.from_list(summaries).format()
    if failure.omitted:
        lines.insert(OUTER_FRAMES, f"  [{failure.omitted} frames left out]\n")
    return lines


def _last_lines(failure: Failure) -> list[str]:
    if failure.own_lines:
        return list(failure.own_lines)
    name, message = failure.type_name, failure.message
    notes = [f"{line}\n" for note in failure.notes for line in note.split("\n")]
    return [f"{name}: {message}\n" if message else f"{name}\n", *notes]
