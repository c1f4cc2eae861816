"""Text is made safe and short in one way, and what is safe already stays the same object."""

from __future__ import annotations

from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_studio.base.failure import safe_text, type_name
from otel_studio.base.resources import safe_resource, safe_scope
from otel_studio.base.text import MAX_NAME, safe, safe_attributes, safe_line, safe_value

ANY = st.text(st.characters(codec=None), max_size=80)


@pytest.mark.parametrize(
    ("text", "lines", "line"),
    [
        ("caf\udce9", "caf�", "caf�"),
        ("\x1b[31m\x07\x9b\x7f", "�[31m���", "�[31m���"),
        ("a\tb\nc", "a\tb\nc", "a b c"),
        ("a\r\nb\rc\x0bd\x85", "a\nb�c�d�", "a b c d "),
        ("a\u2028b", "a\u2028b", "a b"),
        ("\u202egnp\u2066x\u2069", "�gnp�x�", "�gnp�x�"),
        ("nul\0", "nul�", "nul�"),
    ],
)
def test_what_terminals_and_encoders_choke_on_is_replaced(text: str, lines: str, line: str) -> None:
    """One character for one; of lines, ends and tabs stay, in a name they become spaces."""
    assert safe(text) == lines
    assert safe_line(text) == line


@pytest.mark.parametrize(
    "text",
    ["", "plain", "grüße 漢字 👩‍👩‍👧 \u200f\u05d0 \u00a0 \u00ad", "[markup] <b> & \" ' \\ = %s"],
)
def test_what_is_safe_is_the_same_object(text: str) -> None:
    """Any script, emoji with joiners, markup: nothing is escaped for one exit alone."""
    assert safe(text) is text
    assert safe_line(text) is text


def test_long_text_is_cut() -> None:
    """With an ellipsis as the last character; `None` cuts nothing."""
    assert safe("x" * 20, 10) == "x" * 9 + "…"
    assert safe_line("x" * 10_000) == "x" * (MAX_NAME - 1) + "…"
    long = "x" * 10_000
    assert safe(long, None) is long


def test_a_kind_of_text_becomes_text() -> None:
    """An enumeration's member or a lazy text runs no method of its own later."""

    class Kind(StrEnum):
        A = "a"

    assert type(safe_line(Kind.A)) is str
    assert type(safe(Kind.A)) is str


@given(ANY)
def test_any_text_can_be_encoded_and_is_safe_once(text: str) -> None:
    """What came out goes through unchanged, as UTF-8 too."""
    for made in (safe(text), safe_line(text)):
        assert made.encode().decode() == made
        assert safe(made) is made
    line = safe_line(text)
    assert safe_line(line) is line
    assert len(line.splitlines()) <= 1


def test_values_are_made_safe_to_their_ends() -> None:
    """Sequences and mappings keep their kind; numbers and bytes stay; a clean one is the same."""
    assert safe_value(["a\udcff", 1, ("b\x1b",)]) == ["a�", 1, ("b�",)]
    assert safe_value({"k\n": {"x": "\x00"}}) == {"k ": {"x": "�"}}
    clean = ("a", 1, [2.5, None, b"\xff"])
    assert safe_value(clean) is clean
    attributes = {"a": "b", "c": [1]}
    assert safe_attributes(attributes) is attributes
    assert list(safe_attributes({"a\n": "x", "b": 1})) == ["a ", "b"]


def test_what_cannot_be_text_says_its_type() -> None:
    """Whatever an object's text raises or returns; bytes are read as UTF-8."""

    class Odd:
        def __str__(self) -> str:
            return "odd\x1b"

    assert safe_text(Odd()) == "odd�"
    assert safe_text(b"caf\xc3\xa9 \xff") == "café �"
    assert type_name(type("Bad\x1bName", (Exception,), {"__module__": "m"})) == "m.Bad�Name"


def test_resources_and_scopes() -> None:
    """Those of the program and of its environment; a safe one is the same object."""
    clean = Resource({"a": "b"})
    assert safe_resource(clean) is clean
    assert safe_resource(Resource({"host\udcff": "x\x07"})).attributes == {"host�": "x�"}
    scope = InstrumentationScope("shop", "1", None, {"a": "b"})
    assert safe_scope(scope) is scope
    made = safe_scope(InstrumentationScope("shop\udcff", "1\n", None, {"a": "b\x00"}))
    assert (made.name, made.version) == ("shop�", "1 ")
    assert dict(made.attributes or {}) == {"a": "b�"}
