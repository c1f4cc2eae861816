"""What counts as a secret, and that nothing else is touched."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_studio.spans.redaction import REDACTED, Redactor

NAMES = ("authorization", "cookie", "password", "passwd", "secret", "api_key", "access_token")


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor(NAMES, [r"\bsk_live_\w+", r"[0-9]{16}"])


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "PASSWORD",
        "db.password",
        "password.value",
        "user_password",
        "userPassword",
        "passwords",
        "studio.argument.api_key",
        "http.request.header.x-api-key",
        "stripeApiKey",
        "Set-Cookie",
        "proxy-authorization",
    ],
)
def test_keys_that_end_in_a_name_are_secret(redactor: Redactor, key: str) -> None:
    """Case, separators, prefixes and a plural make no difference."""
    assert redactor.is_secret(key)
    assert redactor.value(key, 12345) == REDACTED


@pytest.mark.parametrize(
    "key", ["secretary.name", "cookie_policy", "author", "passwordless", "tokens", "", "x"]
)
def test_keys_that_only_look_alike_are_not(redactor: Redactor, key: str) -> None:
    """A name inside of another word is not that name."""
    assert not redactor.is_secret(key)
    assert redactor.value(key, "harmless") == "harmless"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("login with password='hunter2' failed", "login with password='[redacted]' failed"),
        ('{"password": "hun\\"ter2", "a": 1}', '{"password": "[redacted]", "a": 1}'),
        ("{'password': b'x y'}", "{'password': '[redacted]'}"),
        ("Authorization: Bearer abc.def x=1", "Authorization: [redacted] x=1"),
        ("Cookie: a=b; c=d; e=f\nHost: x", "Cookie: [redacted]\nHost: x"),
        ("GET /x?api_key=abc&b=1", "GET /x?api_key=[redacted]&b=1"),
        ("X-Api-Key => zzz", "X-Api-Key => [redacted]"),
        ("passwords=['a', 'b'] rest", "passwords=[redacted] rest"),
        ("password = hunter2; user=5", "password = [redacted]; user=5"),
        ("card 4111111111111111 and sk_live_abc", "card [redacted] and [redacted]"),
    ],
)
def test_values_beside_a_name_in_a_text_go(redactor: Redactor, text: str, expected: str) -> None:
    """The value goes, its quotes and the rest of the text stay; a second time changes nothing."""
    assert redactor.text(text) == expected
    assert redactor.text(expected) == expected


@pytest.mark.parametrize(
    "text",
    ["cookie_policy=accepted", "secretary=bob", "the password is wrong", "password: ", "", "x=1"],
)
def test_texts_without_a_secret_stay_the_same_object(redactor: Redactor, text: str) -> None:
    """Nothing is copied, and nothing is changed by mistake."""
    assert redactor.text(text) is text


def test_values_are_searched_to_their_ends(redactor: Redactor) -> None:
    """Sequences, mappings and bytes are looked into; what holds no secret is returned as it is."""
    found = redactor.value("note", ["password=abc", 1, {"secret": 2, "note": "x"}, b"passwd=q"])
    assert found == [
        "password=[redacted]",
        1,
        {"secret": REDACTED, "note": "x"},
        b"passwd=[redacted]",
    ]
    assert redactor.value("note", ("password=abc",)) == ("password=[redacted]",)
    clean: list[Any] = ["a", 1, None, True, {"b": (1.5,)}]
    assert redactor.value("note", clean) is clean
    attributes = {"a": 1, "b": "text"}
    assert redactor.mapping(attributes) is attributes
    assert redactor.mapping({"a": 1, "password": 2}) == {"a": 1, "password": REDACTED}


def test_without_names_and_patterns_nothing_is_done() -> None:
    """An empty setting switches redaction off."""
    idle = Redactor()
    assert idle.is_idle
    assert idle.value("password", "x") == "x"
    assert idle.text("password=x") == "password=x"


def test_names_of_any_script_count() -> None:
    """A name need not be English."""
    redactor = Redactor(["пароль"])
    assert redactor.is_secret("user.пароль")
    assert redactor.text("пароль=тайна") == "пароль=[redacted]"


def test_a_pattern_that_matches_nothing_marks_nothing() -> None:
    """An expression such as `x*` matches between any two letters: that is no secret."""
    assert Redactor([], ["x*"]).text("abxxc") == "ab[redacted]c"


def test_names_are_no_expressions() -> None:
    """What a name holds besides letters and digits separates words, and is no syntax."""
    redactor = Redactor(["a.b*", "(", ""])
    assert redactor.text("a_b = 5") == "a_b = [redacted]"
    assert not redactor.is_secret("(")


@pytest.mark.parametrize(
    "text",
    [
        "password" * 20_000,
        "password=" * 20_000,
        "password='" + "\\" * 200_000,
        "cookie: a" + "; a" * 60_000,
        "cookie" + " " * 200_000,
        "cookie: bearer" + " " * 200_000,
        "cookie [" * 20_000,
        "secret='" * 20_000,
    ],
)
def test_long_texts_take_time_in_proportion(redactor: Redactor, text: str) -> None:
    """No text makes the search go back over itself again and again."""
    began = time.process_time()
    redactor.text(text)
    assert time.process_time() - began < 5


def test_what_is_remembered_is_bounded(redactor: Redactor, monkeypatch: Any) -> None:
    """Keys and short texts without end do not fill the memory."""
    monkeypatch.setattr("otel_studio.spans.redaction._MAX_REMEMBERED", 100)
    fresh = Redactor(NAMES)
    for number in range(1_000):
        fresh.is_secret(f"key{number}")
        fresh.text(f"text {number}")
    assert len(fresh._keys) <= 100
    assert len(fresh._clean) <= 100


@given(st.text(max_size=50), st.sampled_from(NAMES), st.sampled_from(["=", ": ", " => "]))
def test_a_secret_beside_its_name_is_never_left(before: str, name: str, between: str) -> None:
    """Whatever stands before it, a plain value after a name is gone."""
    redactor = Redactor(NAMES)
    text = f"{before} {name}{between}hunter2"
    assert "hunter2" not in redactor.text(text).replace(before, "") or "hunter2" in before


@given(st.text(max_size=300))
def test_a_second_time_changes_nothing(text: str) -> None:
    """Redacting what was redacted leaves it as it is."""
    redactor = Redactor(NAMES)
    once = redactor.text(text)
    assert redactor.text(once) == once


def test_names_of_any_length_are_not_remembered() -> None:
    """Whether one is secret is found out each time."""
    redactor = Redactor(["password"])
    assert redactor.is_secret("x" * 10_000 + ".password")
    assert not redactor.is_secret("x" * 10_000)
    assert not redactor._keys
    assert redactor.is_secret("db.password")
    assert redactor._keys == {"db.password": True}
