"""What is kept of an exception says what Python's own traceback says, and holds nothing alive."""

from __future__ import annotations

import gc
import itertools
import re
import sys
import time
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from otel_studio.base.failure import Failure
from otel_studio.logs.span_redaction import RedactedFailure
from otel_studio.spans.redaction import Redactor


def fail(what: object) -> None:
    """Raise."""
    raise LookupError(f"no {what}")


def raised(run: Callable[[], object]) -> BaseException:
    """Return what a call raises, with its traceback."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011  (whatever it is)
        run()
    return caught.value


def noted(error: BaseException, *notes: str) -> BaseException:
    """Return an exception with notes."""
    for note in notes:
        error.add_note(note)
    return error


def caused() -> None:
    """Raise an exception with a cause."""
    try:
        fail("cause")
    except LookupError as error:
        raise KeyError("caused") from error


def in_handling() -> None:
    """Raise a group while another exception is handled."""
    members = [raised(caused), raised(lambda: fail("b"))]
    try:
        fail("context")
    except LookupError:
        raise ExceptionGroup("in handling", members) from None


def with_context() -> None:
    """The same, with the context shown."""
    try:
        fail("context")
    except LookupError:
        raise ExceptionGroup("shown", [ValueError("never raised")])  # noqa: B904


def nested() -> None:
    """Raise a group of groups."""
    inner = raised(with_context)
    raise ExceptionGroup("nested", [ValueError("first"), inner, noted(KeyError("k"), "deep\nnote")])


def last_is_a_group() -> None:
    """Raise groups whose last exceptions are groups."""
    inner = ExceptionGroup("b", [ExceptionGroup("c", [OSError()])])
    raise ExceptionGroup("a", [ValueError(1), inner])


def after_a_group() -> None:
    """Raise an exception that a group led to."""
    try:
        nested()
    except ExceptionGroup as error:
        raise RuntimeError("after") from error


def of_source(source: str) -> Callable[[], object]:
    """Return what compiles source that is wrong."""
    return lambda: compile(source, "invoice.tmpl", "exec")


def several_lines() -> None:
    """Raise an exception whose message has several lines."""
    raise ValueError("one\ntwo\n\nfour")


def with_notes() -> None:
    """Raise an exception with notes of several lines."""
    raise noted(ValueError("bad"), "in row 7", "of\nprices.csv", "")


def group_of_syntax() -> None:
    """Raise a group of syntax errors."""
    members = [raised(of_source("a b")), noted(raised(of_source(")")), "note")]
    raise ExceptionGroup("both", members)


def with_odd_notes() -> None:
    """Raise an exception whose notes are none."""
    error = ValueError("bad")
    error.__notes__ = 7  # type: ignore[assignment]
    raise error


CASES = {
    "plain": lambda: fail("a"),
    "caused": caused,
    "several lines": several_lines,
    "notes": with_notes,
    "odd notes": with_odd_notes,
    "group": in_handling,
    "group with context": with_context,
    "nested": nested,
    "last is a group": last_is_a_group,
    "after a group": after_a_group,
    "syntax": of_source("total =" + " = 1"),
    "never closed": of_source("pay(1,\n"),
    "indentation": of_source("if x:\npass"),
    "wrong tab": of_source("if x:\n\tpass\n        pass"),
    "syntax without source": lambda: (_ for _ in ()).throw(SyntaxError("no more")),
    "name": lambda: eval("len_of_text", {"len_of_texts": 1}),
    "group of syntax": group_of_syntax,
}

#: A line of carets below the source: the places of columns are not kept.
CARETS = re.compile(r"[ |]*[~^]+\s*")


def lines_of(text: str) -> list[str]:
    """Return the lines of a traceback that tell; of a syntax error's carets the place too."""
    lines = text.splitlines()
    kept = []
    for number, line in enumerate(lines):
        is_of_syntax = number >= 2 and "invoice.tmpl" in lines[number - 2]
        if is_of_syntax or not CARETS.fullmatch(line):
            kept.append(line)
    return kept


@pytest.mark.parametrize("case", CASES)
def test_a_stack_says_what_pythons_traceback_says(case):
    """Line by line: groups, notes, the source of a syntax error, causes and contexts."""
    error = raised(CASES[case])
    expected = "".join(traceback.format_exception(error))
    assert lines_of(Failure.of(error).stack()) == lines_of(expected)


def test_a_name_that_may_be_meant():
    """The suggestion of a `NameError` is found while its names are there, from Python 3.12 on."""
    stack = Failure.of(raised(CASES["name"])).stack()
    assert ("Did you mean: 'len_of_texts'?" in stack) == (sys.version_info >= (3, 12))


def test_it_holds_neither_the_exception_nor_its_locals():
    """Members, causes and syntax errors go as soon as nobody else holds them."""

    class Payload:
        pass

    class Own(Exception):
        pass

    def make() -> tuple[Failure, list[weakref.ref[Any]]]:
        payload = Payload()
        members: list[Any] = [raised(lambda: fail(payload)), Own("x")]
        error = raised(lambda: (_ for _ in ()).throw(ExceptionGroup("all", members)))
        return Failure.of(error), [weakref.ref(payload), weakref.ref(members[1])]

    failure, held = make()
    gc.collect()
    assert [one() for one in held] == [None, None]
    assert "Own: x" in failure.stack()


def test_a_large_group_is_cut_and_says_so():
    """Fifteen of a group are kept, twenty in all, in ten groups within one another at most."""
    wide = Failure.of(ExceptionGroup("wide", [ValueError(number) for number in range(1_000)]))
    assert len(wide.members) == 15
    assert "and 985 more exceptions" in wide.stack()
    assert wide.stack().splitlines()[-1].strip("+- ") == ""

    tree: BaseException = ValueError("leaf")
    for level in range(4):
        tree = BaseExceptionGroup(f"level {level}", [tree] * 10)
    text = Failure.of(tree).stack()
    assert len(re.findall(r"\+-+ \d+ -+$", text, re.MULTILINE)) == 20

    deep: Exception = ValueError("bottom")
    for _ in range(500):
        deep = ExceptionGroup("deep", [deep])
    text = Failure.of(deep).stack()
    assert "bottom" not in text
    assert text.count("and 1 more exception\n") == 1


def test_notes_are_cut_and_counted():
    """Twenty notes are kept, each cut."""
    error = noted(ValueError("bad"), *(f"note {number} " + "x" * 10_000 for number in range(100)))
    text = Failure.of(error).stack()
    assert "note 19 " in text
    assert "[80 notes left out]" in text
    assert len(text) < 25_000


def test_hostile_exceptions_are_kept_all_the_same():
    """Notes, texts and source that raise when they are looked at cost only themselves."""

    class Hostile(Exception):
        @property
        def __notes__(self) -> list[str]:
            raise RuntimeError("no notes")

    class Rude:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert Failure.of(Hostile("told")).stack().endswith("Hostile: told\n")
    group = ExceptionGroup("rude", [noted(ValueError("a")), ValueError(Rude())])
    group.__notes__ = [Rude()]
    assert "its __str__ raised RuntimeError" in Failure.of(group).stack()
    wrong = SyntaxError("odd", ("file", "line", -5, Rude()))
    assert Failure.of(wrong).type_name == "SyntaxError"
    Failure.of(wrong).stack()


def test_no_secret_of_a_member_note_or_source_line_is_told():
    """Redaction reaches everything that a stack is made of."""
    secret = "hunter2"
    group = ExceptionGroup(
        "all",
        [
            noted(ValueError(f"password={secret}"), f"password={secret}"),
            raised(of_source(f"password='{secret}' = 1")),
        ],
    )
    failure = RedactedFailure(Failure.of(group), Redactor(["password"]))
    assert secret not in failure.stack()
    assert failure.stack().count("password=") == 4 - failure.stack().count("password='[redacted]'")


def test_keeping_it_stays_cheap():
    """An exception without a story costs what its frames cost, not the text of its traceback."""
    error = raised(lambda: fail("a"))

    def least(work: Callable[[], object]) -> float:
        best = float("inf")
        for _ in itertools.repeat(None, 20):
            begun = time.perf_counter()
            for _ in itertools.repeat(None, 100):
                work()
            best = min(best, time.perf_counter() - begun)
        return best

    kept = least(lambda: Failure.of(error))
    assert kept < least(lambda: traceback.format_exception(error)) / 3
