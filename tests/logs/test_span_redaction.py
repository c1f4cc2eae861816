"""A secret in a run is found nowhere: not in spans, errors, queries, logs or exports."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, SpanContext, Status, StatusCode

import otel_studio
from joined_logs import Joined, failed_run, joined_logs
from otel_studio import api
from otel_studio.base.failure import Failure
from otel_studio.exporters.otlp_encoding import SpanEncoder
from otel_studio.logs.span_redaction import RedactedFailure, SpanRedactor
from otel_studio.spans.redaction import Redactor

log = logging.getLogger("shop.login")
SECRET = "hunter2"


@otel_studio.track("login", service="login-service", capture_args=("user", "password"))
def login(user: str, password: str) -> None:
    span = trace.get_current_span()
    span.set_attribute("http.request.header.cookie", f"sid={password}")
    span.set_attribute("url.full", f"https://shop/login?api_key={password}&user={user}")
    span.set_attribute("notes", [f"secret={password}", "fine"])
    span.add_event("tried", {"db.password": password, "user": user})
    span.add_link(SpanContext(1, 2, is_remote=True), {"access_token": password})
    log.warning("trying %s with password=%s", user, password)
    try:
        raise KeyError(f"secret: {password}")
    except KeyError as error:
        raise ValueError(f"wrong password={password!r} for {user}") from error


def everything_known(joined: Joined) -> str:
    """Return all that queries, exports, spans and records say, as one text."""
    spans = joined.isolated.spans
    parts: list[Any] = [span.to_json() for span in spans]
    parts += [[event.attributes for event in span.events] for span in spans]
    parts.append(SpanEncoder().encode(spans))
    parts += [summary.to_json() for summary in api.get_all_metrics()]
    parts += [run.to_json() for run in api.get_recent_operations()]
    parts += [row.to_json() for row in api.get_slow_operations()]
    parts.append(api.get_error_statistics().to_json())
    parts += [bucket.to_json() for bucket in api.get_latency_buckets("login-service", "login")]
    parts += [api.export_metrics(form) for form in ("json", "csv", "prometheus")]
    parts += [vars(record) for record in joined.handler.records]
    parts += [record.getMessage() for record in joined.reports]
    return "\n".join(map(str, parts))


def test_a_secret_is_found_nowhere() -> None:
    """Attributes, captured arguments, events, links, messages, stacks and causes are redacted."""
    with joined_logs() as joined:
        with pytest.raises(ValueError, match=SECRET):
            login("bob", SECRET)
        known = everything_known(joined)
        assert "[redacted]" in known
        assert "bob" in known
        assert SECRET not in known
        (span,) = joined.isolated.spans
        assert dict(span.attributes or {}) == {
            "studio.argument.user": "bob",
            "studio.argument.password": "[redacted]",
            "http.request.header.cookie": "[redacted]",
            "url.full": "https://shop/login?api_key=[redacted]&user=bob",
            "notes": ("secret=[redacted]", "fine"),
            "error.type": "ValueError",
        }


def test_the_program_still_sees_what_it_raised_and_set() -> None:
    """The exception that leaves is the program's own, with its own message."""
    with joined_logs(), pytest.raises(ValueError, match="wrong password='hunter2' for bob"):
        login("bob", SECRET)


def test_a_pattern_is_redacted_wherever_it_stands() -> None:
    """A pattern of the setting is taken out of values, messages and stacks alike."""
    with joined_logs(redact_patterns=[r"\bcard-\d+"]) as joined:
        with failed_run("shop", "pay", ValueError("card-4111 declined")) as run:
            run.set_attribute("note", "paid by card-4111")
            log.info("using card-4111")
        run_record = api.get_recent_operations()[0]
        assert run_record.attributes["note"] == "paid by [redacted]"
        assert run_record.error == "ValueError: [redacted] declined"
        assert "card-4111" not in run_record.to_json()
        assert "card-4111" not in json.dumps([vars(r) for r in joined.reports], default=str)


def test_a_span_without_a_secret_is_left_alone() -> None:
    """Its attributes, events and links are the very objects that it had."""
    with otel_studio.isolated() as isolated:
        tracer = isolated.tracer_provider.get_tracer("a")
        span = tracer.start_span("b", attributes={"n": 1}, links=[Link(SpanContext(1, 2, True))])
        span.add_event("e", {"x": "y"})
        span.end()
        attributes, events, links = span._attributes, list(span._events), span._links
        SpanRedactor(Redactor(["password"])).redact_all([span])
        assert span._attributes is attributes
        assert all(one is other for one, other in zip(span._events, events, strict=True))
        assert span._links[0] is links[0]


def test_redacting_twice_is_redacting_once() -> None:
    """A span may pass twice; nothing is wrapped or marked again."""
    redactor = SpanRedactor(Redactor(["password"]))
    with otel_studio.isolated() as isolated:
        with failed_run("a", "b", ValueError("password=x")) as run:
            run.set_attribute("password", "x")
        (span,) = isolated.spans
        redactor.redact_all([span])
        first = (dict(span.attributes or {}), span._failure, span.events[0].attributes)  # type: ignore[attr-defined]
        redactor.redact_all([span])
        again = (dict(span.attributes or {}), span._failure, span.events[0].attributes)  # type: ignore[attr-defined]
        assert first == again
        assert first[1] is again[1]


def test_a_stack_is_made_only_when_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redacting a failure costs no traceback text; reading it gives one without the secret."""
    made: list[str] = []
    original = Failure.stack

    def stack(self: Failure) -> str:
        made.append(self.type_name)
        return original(self)

    monkeypatch.setattr(Failure, "stack", stack)
    try:
        try:
            raise KeyError("password=hunter2")
        except KeyError as error:
            raise ValueError("password=hunter2") from error
    except ValueError as error:
        failure = RedactedFailure(Failure.of(error), Redactor(["password"]))
    assert made == []
    assert failure.message == "password=[redacted]"
    assert failure.place.endswith("in test_a_stack_is_made_only_when_it_is_read")
    text = failure.stack()
    assert "hunter2" not in text
    assert "The above exception was the direct cause" in text
    assert made == ["ValueError"]


def test_what_cannot_be_redacted_is_not_let_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should redaction fail, the span loses what it says and keeps that it ran and failed."""
    redactor = Redactor(["password"])
    with otel_studio.isolated() as isolated:
        with failed_run("a", "b", ValueError("password=hunter2 x")) as run:
            run.set_attribute("password", "hunter2")
        (span,) = isolated.spans

        def broken(values: Any) -> Any:
            raise RuntimeError("no")

        monkeypatch.setattr(redactor, "mapping", broken)
        SpanRedactor(redactor).redact_all([span])
        assert not span.attributes
        assert not span.events
        assert span.status.status_code is StatusCode.ERROR
        assert "hunter2" not in span.to_json()


def test_a_span_of_another_provider_is_redacted_as_we_keep_it() -> None:
    """With the SDK's own provider, what the registry keeps of its spans is redacted."""
    from otel_studio.assembly.from_settings import registry_limits
    from otel_studio.base.clock import ManualClock
    from otel_studio.registry import queries
    from otel_studio.registry.registry import Registry
    from otel_studio.settings.loading import load_settings
    from otel_studio.spans.buffer import EndedSpans
    from otel_studio.spans.foreign import RegistrySpanProcessor
    from otel_studio.spans.pipeline import Pipeline
    from otel_studio.spans.timebase import Timebase

    clock = ManualClock()
    ended = EndedSpans(100, Timebase(clock))
    registry = Registry(ended, clock, registry_limits(load_settings({}, "/")))
    ended.line = Pipeline(SpanRedactor(Redactor(["password"])), None, registry)
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_span_processor(RegistrySpanProcessor(ended, clock))
    with provider.get_tracer("foreign").start_as_current_span("b") as span:
        span.set_attribute("password", SECRET)
        span.record_exception(ValueError(f"password={SECRET}"))
        span.set_status(Status(StatusCode.ERROR, f"password={SECRET}"))
    (run,) = queries.recent(registry.reading())
    statistics = queries.error_statistics(registry.reading())
    assert run.attributes["password"] == "[redacted]"
    assert SECRET not in run.to_json() + statistics.to_json()


def test_spans_that_were_dropped_are_passed_over() -> None:
    """What stands for a dropped span has nothing to redact."""
    import gc

    with joined_logs() as joined:
        span = joined.isolated.tracer_provider.get_tracer("a").start_span("b")
        del span
        gc.collect()
        joined.logs.flush()
        joined.isolated.assert_operation("a", "b", abandoned=1)
