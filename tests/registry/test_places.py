"""Where an error group says it was raised, whatever made the frames."""

from __future__ import annotations

import json
from types import CodeType, FunctionType
from typing import Any

import pytest

from otel_studio.base.failure import Failure, is_library_file


def raised_in(**code: Any) -> Failure:
    """Return the failure of a user's function that calls one whose code is made to look so."""

    def fail() -> None:
        raise ValueError("no such row")

    changed = FunctionType(fail.__code__.replace(**code), {"ValueError": ValueError})

    def call_it() -> None:
        changed()

    try:
        call_it()
    except ValueError as error:
        return Failure(error)
    raise AssertionError("it did not raise")


@pytest.mark.parametrize(
    ("filename", "is_library"),
    [
        (json.__file__, True),
        ("<frozen importlib._bootstrap>", True),
        ("pandas/_libs/index.pyx", True),
        ("src/codec.c", True),
        ("/srv/shop/basket.py", False),
        ("<stdin>", False),
        ("<string>", False),
    ],
)
def test_what_belongs_to_a_library(filename: str, is_library: bool) -> None:
    """Compiled extensions name relative sources; what was typed in is the user's own."""
    assert is_library_file(filename) is is_library


def test_the_place_is_the_users_call_into_a_compiled_extension() -> None:
    """The innermost frame of the user's code, not the line of C or Cython below it."""
    failure = raised_in(co_filename="pandas/_libs/index.pyx", co_name="get_loc")
    assert failure.place.endswith("test_places.py in raised_in.<locals>.call_it")


def test_a_frame_that_says_it_is_a_module_is_named_by_its_function() -> None:
    """Compiled extensions give every function the qualified name `<module>`."""
    failure = raised_in(co_filename="/srv/shop/fast.pyx", co_name="total", co_qualname="<module>")
    assert failure.place == "/srv/shop/fast.pyx in total"


def test_a_module_is_a_module() -> None:
    """Code at the top of a file keeps the name that the interpreter gives it."""
    code: CodeType = compile("raise ValueError('empty')", "/srv/shop/start.py", "exec")
    with pytest.raises(ValueError, match="empty") as caught:
        exec(code, {})
    assert Failure(caught.value).place == "/srv/shop/start.py in <module>"
