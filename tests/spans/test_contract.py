"""The fast provider does what the SDK does: what a processor sees of each scenario is compared."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ReadableSpan,
    SpanLimits,
    SpanProcessor,
    TracerProvider,
    sampling,
)
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.sdk.version import __version__ as sdk_version
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from otel_studio.spans.provider import StudioTracerProvider
from otel_studio.testing.isolation import IncrementalIds

Scenario = Callable[[Any], object]
SDK_VERSION = tuple(int(part) for part in sdk_version.split(".")[:2])
RESOURCE = Resource({"service.name": "contract"})


class Kept(SpanProcessor):
    """Keeps what it is told, as the processors of users do."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        self.started.append(span.name)
        span.set_attribute("seen.at.start", True)

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


class Keyed(Sampler):
    """Decides by name and adds attributes and trace state, as a custom sampler may."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Any = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        decision = {
            "drop": Decision.DROP,
            "record": Decision.RECORD_ONLY,
        }.get(name, Decision.RECORD_AND_SAMPLE)
        return SamplingResult(
            decision, {"sampler": "keyed", **(attributes or {})}, TraceState([("k", "v")])
        )

    def get_description(self) -> str:
        return "Keyed"


def run(provider_class: type[TracerProvider], scenario: Scenario, **options: Any) -> Any:
    provider = provider_class(
        resource=RESOURCE,
        id_generator=IncrementalIds(),
        shutdown_on_exit=False,
        **options,
    )
    kept = Kept()
    provider.add_span_processor(kept)
    tracer = provider.get_tracer("contract", "1.0", "https://schema", {"scope": "attribute"})
    returned = scenario(tracer)
    provider.force_flush()
    return returned, kept.started, [described(span) for span in kept.ended]


def described(span: ReadableSpan) -> dict[str, Any]:
    context, parent = span.context, span.parent
    scope = span.instrumentation_scope
    assert scope is not None
    return {
        "name": span.name,
        "context": identity(context),
        "parent": identity(parent),
        "kind": span.kind,
        "attributes": dict(span.attributes or {}),
        "events": [
            (event.name, without_paths(event.attributes or {}), event.timestamp > 0)
            for event in span.events
        ],
        "links": [(identity(link.context), dict(link.attributes or {})) for link in span.links],
        "status": (span.status.status_code, span.status.description),
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
        "scope": (scope.name, scope.version, scope.schema_url, dict(scope.attributes or {})),
        "resource": dict(span.resource.attributes),
        "ordered": (span.start_time or 0) <= (span.end_time or 0),
    }


def identity(context: SpanContext | None) -> Any:
    if context is None:
        return None
    return (
        context.trace_id,
        context.span_id,
        int(context.trace_flags),
        context.is_remote,
        dict(context.trace_state),
    )


def without_paths(attributes: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(attributes)
    stack = kept.pop("exception.stacktrace", None)
    if stack is not None:
        kept["stack ends with"] = str(stack).strip().splitlines()[-1]
    return kept


def nested(tracer: Any) -> None:
    with (
        tracer.start_as_current_span("parent", kind=SpanKind.SERVER, attributes={"a": 1}),
        tracer.start_as_current_span("child", attributes={"b": [1, 2], "c": "x"}),
    ):
        pass


def every_write(tracer: Any) -> None:
    with tracer.start_as_current_span("writes") as span:
        span.set_attribute("text", "é")
        span.set_attribute("sequence", ["a", "b"])
        if SDK_VERSION >= (1, 45):  # older ones leave maps out
            span.set_attribute("map", {"k": [1, None]})
        span.set_attribute("bytes", b"\x00\x01")
        span.set_attributes({"x": 1.5, "y": False})
        span.set_attribute("x", 2.5)
        span.add_event("event", {"e": 1}, timestamp=123)
        span.add_event("event without attributes")
        span.add_link(SpanContext(5, 6, True), {"l": 1})
        span.update_name("renamed")
        span.set_status(StatusCode.ERROR, "first")
        span.set_status(Status(StatusCode.OK))
        span.set_status(StatusCode.ERROR, "ignored after OK")
    span.set_attribute("late", 1)
    span.add_event("late")
    span.update_name("late")
    span.set_status(StatusCode.ERROR)
    span.end()
    assert not span.is_recording()


def status_rules(tracer: Any) -> None:
    for statuses in ((StatusCode.UNSET,), (StatusCode.ERROR, StatusCode.UNSET), (StatusCode.OK,)):
        with tracer.start_as_current_span("status") as span:
            for status in statuses:
                span.set_status(Status(status, "why" if status is StatusCode.ERROR else None))


def exceptions(tracer: Any) -> None:
    with pytest.raises(KeyError), tracer.start_as_current_span("raises"):
        raise KeyError("missing")
    with pytest.raises(ValueError, match="no"), tracer.start_span("as a manager of its own"):
        raise ValueError("no")
    with (
        pytest.raises(ValueError, match="quiet"),
        tracer.start_as_current_span(
            "quiet", record_exception=False, set_status_on_exception=False
        ),
    ):
        raise ValueError("quiet")
    with tracer.start_as_current_span("recorded") as span:
        try:
            raise LookupError("kept")
        except LookupError as error:
            span.record_exception(error, {"extra": 1}, timestamp=99, escaped=True)


def left_by(error: BaseException, tracer: Any) -> None:
    """Let an exception leave spans that are made in each way."""
    with pytest.raises(type(error)), tracer.start_as_current_span("current"):
        raise error
    with pytest.raises(type(error)), tracer.start_span("as a manager of its own"):
        raise error
    span = tracer.start_span("by hand")
    with pytest.raises(type(error)), trace.use_span(span, end_on_exit=True):
        raise error


def what_is_no_error(tracer: Any) -> None:
    """Exceptions that are no errors to operations: to spans they are what the SDK says."""
    left_by(SystemExit(0), tracer)
    left_by(SystemExit(3), tracer)
    left_by(KeyboardInterrupt(), tracer)
    left_by(GeneratorExit(), tracer)
    left_by(asyncio.CancelledError(), tracer)
    left_by(concurrent.futures.CancelledError(), tracer)
    left_by(StopAsyncIteration(), tracer)
    left_by(ExceptionGroup("two", [ValueError("a"), KeyError("b")]), tracer)


def explicit_times(tracer: Any) -> list[tuple[int, int]]:
    span = tracer.start_span("explicit", start_time=1_000)
    span.end(end_time=5_000)
    return [(getattr(span, "start_time", 0), getattr(span, "end_time", 0))]


def links_and_contexts(tracer: Any) -> None:
    remote = SpanContext(7, 8, True, TraceFlags(3), TraceState([("vendor", "1")]))
    context = trace.set_span_in_context(NonRecordingSpan(remote), Context())
    tracer.start_span("under remote", context=context).end()
    unsampled = SpanContext(9, 10, True, TraceFlags(0))
    context = trace.set_span_in_context(NonRecordingSpan(unsampled), Context())
    tracer.start_span("under unsampled", context=context).end()
    tracer.start_span("root by context", context=Context()).end()
    tracer.start_span(
        "with links", links=[Link(remote, {"a": 1}), Link(SpanContext(0, 0, False))]
    ).end()
    invalid = trace.set_span_in_context(trace.INVALID_SPAN, Context())
    tracer.start_span("under invalid", context=invalid).end()


def decorated(tracer: Any) -> list[Any]:
    @tracer.start_as_current_span("function")
    def function(x: int) -> int:
        return x + 1

    @tracer.start_as_current_span("coroutine")
    async def coroutine(x: int) -> int:
        await asyncio.sleep(0)
        return x + 2

    return [function(1), function(1), asyncio.run(coroutine(1))]


def not_ended_on_exit(tracer: Any) -> bool:
    with tracer.start_as_current_span("open", end_on_exit=False) as span:
        pass
    recording = span.is_recording()
    span.end()
    return bool(recording)


def used_by_hand(tracer: Any) -> None:
    span = tracer.start_span("by hand")
    with trace.use_span(span, end_on_exit=True):
        assert trace.get_current_span() is span
        tracer.start_span("child of it").end()


SCENARIOS = [
    nested,
    every_write,
    status_rules,
    exceptions,
    what_is_no_error,
    explicit_times,
    links_and_contexts,
    decorated,
    not_ended_on_exit,
    used_by_hand,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sampler": sampling.ALWAYS_ON},
        {"sampler": sampling.ALWAYS_OFF},
        {"sampler": sampling.ParentBased(sampling.TraceIdRatioBased(0.5))},
        {"sampler": sampling.TraceIdRatioBased(1.0)},
        {"sampler": Keyed()},
        {
            "span_limits": SpanLimits(
                max_span_attributes=2,
                max_events=1,
                max_links=1,
                max_event_attributes=1,
                max_link_attributes=0,
                max_attribute_length=3,
            )
        },
        {"span_limits": SpanLimits(max_span_attributes=0, max_events=0, max_links=0)},
    ],
    ids=[
        "default",
        "always-on",
        "always-off",
        "parent-ratio",
        "ratio",
        "custom-sampler",
        "small-limits",
        "zero-limits",
    ],
)
def test_processors_see_what_the_sdk_shows_them(
    scenario: Scenario, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Names, ids, parents, attributes, events, links, status and drop counts equal the SDK's."""
    expected = run(TracerProvider, scenario, **options)
    found = run(StudioTracerProvider, scenario, **options)
    assert found == expected


@pytest.mark.parametrize("name", ["drop", "record", "sample"])
def test_custom_decisions_are_kept(name: str) -> None:
    """A dropped span reaches no processor; a recorded one does and is not sampled."""

    def scenario(tracer: Any) -> Any:
        with tracer.start_as_current_span(name) as span:
            tracer.start_span("child").end()
            return span.is_recording(), int(span.get_span_context().trace_flags)

    assert run(StudioTracerProvider, scenario, sampler=Keyed()) == run(
        TracerProvider, scenario, sampler=Keyed()
    )


def test_span_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The `OTEL_SPAN_*` variables bound attributes, events and their lengths."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2")
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "1")
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "4")
    assert run(StudioTracerProvider, every_write) == run(TracerProvider, every_write)


def test_a_disabled_sdk_records_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OTEL_SDK_DISABLED=true` makes every tracer a no-op."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    _, started, ended = run(StudioTracerProvider, nested)
    assert (started, ended) == ([], [])


def test_a_tracer_configurator_switches_scopes_off() -> None:
    """A scope that the configurator disables records nothing; the others go on."""
    from opentelemetry.sdk.trace import _TracerConfig

    provider = StudioTracerProvider(
        shutdown_on_exit=False,
        _tracer_configurator=lambda scope: _TracerConfig(is_enabled=scope.name != "quiet"),
    )
    kept = Kept()
    provider.add_span_processor(kept)
    provider.get_tracer("quiet").start_span("no").end()
    provider.get_tracer("loud").start_span("yes").end()
    assert [span.name for span in kept.ended] == ["yes"]


def test_the_same_scope_has_the_same_tracer() -> None:
    """`get_tracer` returns one tracer per scope."""
    provider = StudioTracerProvider(shutdown_on_exit=False)
    assert provider.get_tracer("a", "1") is provider.get_tracer("a", "1")
    assert provider.get_tracer("a", "1") is not provider.get_tracer("a", "2")


def test_a_processor_that_raises_stops_neither_the_program_nor_the_others() -> None:
    """A failing processor is counted, and the next one still sees every span."""
    from otel_studio.base import guard

    class Broken(SpanProcessor):
        def on_start(self, span: Any, parent_context: Context | None = None) -> None:
            raise RuntimeError("start")

        def on_end(self, span: ReadableSpan) -> None:
            raise RuntimeError("end")

        def shutdown(self) -> None:
            raise RuntimeError("shutdown")

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            raise RuntimeError("flush")

    guard.forget_said()
    provider = StudioTracerProvider(shutdown_on_exit=False)
    kept = Kept()
    provider.add_span_processor(Broken())
    provider.add_span_processor(kept)
    provider.get_tracer("t").start_span("one").end()
    assert [span.name for span in kept.ended] == ["one"]
    assert provider.force_flush() is False
    provider.shutdown()
    assert guard.internal_errors == {
        "on_start of Broken": 1,
        "on_end of Broken": 1,
        "flushing Broken": 1,
        "shutting down Broken": 1,
    }


def test_spans_are_what_programs_test_for() -> None:
    """From the API, from operations and given to processors: spans of the SDK, too."""
    import otel_studio

    kept = Kept()
    provider = StudioTracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(kept)
    with provider.get_tracer("t").start_as_current_span("one") as span:
        assert isinstance(span, sdk_trace.Span)
        assert isinstance(span, trace.Span)
    assert all(isinstance(ended, ReadableSpan) for ended in kept.ended)

    @otel_studio.track
    def current() -> trace.Span:
        return trace.get_current_span()

    with otel_studio.isolated():
        assert isinstance(current(), sdk_trace.Span)
    assert not isinstance(trace.INVALID_SPAN, sdk_trace.Span)


def test_starting_a_span_again_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """`start()`, which the SDK's spans have, says that it is ignored."""
    span = StudioTracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("one")
    began = span.start_time
    span.start(start_time=1)

    assert span.start_time == began
    assert "start()" in caplog.text


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,a=b%20c",
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "otel,os,process",
        },
        {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"},
        {"OTEL_TRACES_SAMPLER": "parentbased_always_off"},
        {"OTEL_TRACES_SAMPLER": "no such sampler"},
        {
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "7",
            "OTEL_ATTRIBUTE_COUNT_LIMIT": "6",
            "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "5",
            "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "4",
            "OTEL_SPAN_EVENT_COUNT_LIMIT": "3",
            "OTEL_SPAN_LINK_COUNT_LIMIT": "2",
        },
        {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "9", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "8"},
        {"OTEL_SDK_DISABLED": "true"},
    ],
    ids=lambda environment: "+".join(environment.values()) or "nothing said",
)
def test_a_provider_made_by_itself_is_described_as_the_sdks(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resource, limits and sampler are those that the environment gives the SDK's own."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    made = [
        kind(id_generator=IncrementalIds(), shutdown_on_exit=False)
        for kind in (StudioTracerProvider, sdk_trace.TracerProvider)
    ]

    for provider in made:
        assert provider.resource.attributes["telemetry.sdk.language"] == "python"
    ours, theirs = (
        (
            dict(provider.resource.attributes),
            provider.sampler.get_description(),
            vars(provider._span_limits),
            provider.get_tracer("t").start_span("one").is_recording(),
        )
        for provider in made
    )
    assert ours == theirs


@pytest.mark.parametrize("provider_class", [TracerProvider, StudioTracerProvider])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_deep_copy_of_an_ended_span_says_what_the_span_says(
    scenario: Scenario, provider_class: type[TracerProvider]
) -> None:
    """As exporters make it, to change what they send: the span stays as it was."""
    few = SpanLimits(max_span_attributes=2, max_events=1, max_links=1, max_event_attributes=1)
    provider = provider_class(resource=RESOURCE, span_limits=few, shutdown_on_exit=False)
    kept = Kept()
    provider.add_span_processor(kept)
    scenario(provider.get_tracer("contract", "1.0", "https://schema", {"scope": "attribute"}))

    assert kept.ended
    for span in kept.ended:
        copied: Any = copy.deepcopy(span)
        assert described(copied) == described(span)
        assert copied.to_json() == span.to_json()
        assert type(copied) is ReadableSpan
        copied._name = "another"
        copied._attributes._immutable = False
        copied._attributes["another"] = "value"
        assert span.name != "another"
        assert "another" not in (span.attributes or {})


def test_what_the_api_does_not_take_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A status, attributes and an exception that are none: the span stays as it was."""

    def scenario(tracer: Any) -> None:
        span = tracer.start_span("one")
        for status in ("ERROR", None, 2):
            span.set_status(status)
        span.end()

    assert run(StudioTracerProvider, scenario) == run(TracerProvider, scenario)

    span: Any = StudioTracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("one")
    before = described(span)
    span.set_attributes(None)
    span.record_exception("no exception")
    assert described(span) == before
    assert "no exception" in caplog.text


@pytest.mark.filterwarnings("ignore:You should use:DeprecationWarning")
def test_a_scope_is_known_by_its_old_name_too() -> None:
    """`instrumentation_info`, which programs and exporters of theirs still read."""

    def scenario(tracer: Any) -> Any:
        span = tracer.start_span("one")
        return tracer.instrumentation_info, span.instrumentation_info

    assert run(StudioTracerProvider, scenario) == run(TracerProvider, scenario)


def test_a_span_prints_as_the_sdks() -> None:
    """Its class, its name and its context."""
    ours, theirs = (
        repr(
            kind(id_generator=IncrementalIds(), shutdown_on_exit=False)
            .get_tracer("t")
            .start_span("a")
        )
        for kind in (StudioTracerProvider, TracerProvider)
    )
    assert ours == theirs.replace("_Span", "StudioSpan", 1)


def test_an_ended_span_prints_as_json_like_the_sdks() -> None:
    """`to_json`, which the console exporter calls, has the SDK's shape."""
    import json

    provider = StudioTracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    kept = Kept()
    provider.add_span_processor(kept)
    exceptions(provider.get_tracer("json"))
    printed = json.loads(kept.ended[0].to_json())
    assert printed["name"] == "raises"
    assert printed["status"] == {"status_code": "ERROR", "description": "KeyError: 'missing'"}
    assert printed["attributes"] == {"seen.at.start": True}
    assert printed["events"][0]["attributes"]["exception.type"] == "KeyError"
    assert printed["resource"]["attributes"] == {"service.name": "contract"}
