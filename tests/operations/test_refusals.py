"""Wrong arguments: one clear sentence each, at the place where they are given."""

from __future__ import annotations

import pytest

from otel_studio import instrument, service, track


def function(path: str) -> None: ...


class Job: ...


@pytest.mark.parametrize(
    ("call", "kind", "sentence"),
    [
        (lambda: track(5), TypeError, "decorates a callable.*not int: put it directly above"),
        (
            lambda: track("a", service="s")(Job),
            TypeError,
            r"not the class Job: otel_studio.instrument\(\) tracks",
        ),
        (lambda: service("s").track(Job), TypeError, "functions and methods, not the class Job"),
        (lambda: track(property()), TypeError, "not property"),
        (lambda: track("")(function), TypeError, "non-empty text"),
        (lambda: track("a")("b"), TypeError, "decorates a callable.*not str"),
        (lambda: track(service=5), TypeError, "service is a non-empty text, not 5"),
        (lambda: track(service=""), TypeError, "service is a non-empty text, not ''"),
        (lambda: track(attributes=["a"]), TypeError, "attributes is a mapping.*not list"),
        (lambda: track(capture_args=5), TypeError, "parameter names as text, not 5"),
        (lambda: track(capture_args=(5,)), TypeError, "parameter names as text, not 5"),
        (lambda: track(capture_args="self"), TypeError, "'self', which is never captured"),
        (
            lambda: track(capture_args="size")(function),
            ValueError,
            "names 'size', which is no parameter of function: it has path",
        ),
        (lambda: track(expected=5), TypeError, "exception types, not 5"),
        (lambda: track(expected="ValueError"), TypeError, "exception types, not 'ValueError'"),
        (lambda: track(expected=(int,)), TypeError, "exception types, not <class 'int'>"),
        (lambda: track(slow_threshold=0), ValueError, "slow_threshold is 0: give seconds"),
        (lambda: track(slow_threshold="1"), ValueError, "slow_threshold is '1': give seconds"),
        (lambda: track(slow_threshold=float("nan")), ValueError, "slow_threshold is nan"),
        (lambda: service(""), TypeError, "service's name is a non-empty text, not ''"),
        (lambda: service(None), TypeError, "service's name is a non-empty text, not None"),
        (lambda: service(["a"]), TypeError, "service's name is a non-empty text"),
        (lambda: service("s").operation(""), TypeError, "operation's name is a non-empty text"),
        (lambda: service("s").operation(3), TypeError, "operation's name is a non-empty text"),
        (lambda: service("s").operation([]), TypeError, "operation's name is a non-empty text"),
        (lambda: service("s").start_operation(None), TypeError, "operation's name"),
        (lambda: service("s").operation("a", expected=[3]), TypeError, "exception types, not 3"),
        (lambda: service("s").record_operation("a", -1), ValueError, "duration is -1"),
        (lambda: service("s").record_operation("a", float("inf")), ValueError, "duration is inf"),
        (lambda: service("s").record_operation("a", "1"), TypeError, "number of seconds, not str"),
        (lambda: service("s").record_operation("a", True), TypeError, "of seconds, not bool"),
        (lambda: instrument(object(), service=3), TypeError, "service is a non-empty text"),
        (lambda: instrument(object(), include=3), TypeError, "name patterns as text, not 3"),
        (lambda: instrument({3: Job}), TypeError, "has their names as keys, not 3: write"),
        (lambda: instrument({"": Job}), TypeError, "has their names as keys, not ''"),
        (lambda: instrument({"a": None}), TypeError, "'a' in the mapping is of type NoneType"),
        (lambda: instrument({"a": 3}), TypeError, "type int, which has nothing to track: give"),
        (lambda: instrument(object(), exclude=(3,)), TypeError, "name patterns as text, not 3"),
    ],
    ids=lambda value: None if callable(value) else str(value)[:30],
)
def test_refused(call, kind, sentence):
    """It says what was wrong and what to give instead, in one line."""
    with pytest.raises(kind, match=sentence) as raised:
        call()
    assert "\n" not in str(raised.value)
