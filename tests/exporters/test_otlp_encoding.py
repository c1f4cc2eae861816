"""The span encoder says what OpenTelemetry's own encoder says, for every kind of span."""

from __future__ import annotations

import enum
import logging
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otel_studio.base import guard
from otel_studio.exporters import _otlp_caches
from otel_studio.exporters.otlp_encoding import SpanEncoder
from otel_studio.spans.provider import StudioTracerProvider
from otel_studio.spans.span import StudioSpan, new_span

RESOURCE = Resource({"service.name": "media", "process.pid": 7})
SCOPE = InstrumentationScope("cache-service", "1.2")
OFFSET = 1_700_000_000_000_000_000


class Level(enum.IntEnum):
    LOW = 1


class Name(enum.StrEnum):
    A = "a"


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    """The reference logs every attribute it cannot encode, with a traceback."""
    guard.forget_said()
    logger = logging.getLogger("opentelemetry.exporter.otlp.proto.common._internal")
    logger.disabled = True
    yield
    logger.disabled = False
    guard.forget_said()


def normalised(request: ExportTraceServiceRequest) -> bytes:
    """Return a request in one order, so that two of equal meaning are equal."""
    for group in request.resource_spans:
        for scope in group.scope_spans:
            scope.spans.sort(key=lambda span: span.SerializeToString(deterministic=True))
        group.scope_spans.sort(key=lambda scope: scope.SerializeToString(deterministic=True))
    request.resource_spans.sort(key=lambda group: group.SerializeToString(deterministic=True))
    return request.SerializeToString(deterministic=True)


def decoded(data: bytes) -> bytes:
    return normalised(ExportTraceServiceRequest.FromString(data))


def expected(spans: Sequence[ReadableSpan]) -> bytes:
    return decoded(encode_spans(spans).SerializeToString())


def an_sdk_span(**changes: Any) -> ReadableSpan:
    values: dict[str, Any] = {
        "name": "get",
        "context": SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1)),
        "resource": RESOURCE,
        "instrumentation_scope": SCOPE,
        "start_time": OFFSET + 1,
        "end_time": OFFSET + 5,
    }
    return ReadableSpan(**{**values, **changes})


def a_tracer(scope: InstrumentationScope = SCOPE, resource: Resource = RESOURCE) -> Any:
    """Stand for the tracer of a span: the encoder reads these three attributes of it."""
    timebase = SimpleNamespace(offset=OFFSET, followed_at=-1)
    return SimpleNamespace(scope=scope, resource=resource, timebase=timebase)


def a_studio_span(tracer: Any, span: ReadableSpan) -> StudioSpan:
    """Return a span of ours with the content of one of the SDK's."""
    context = span.get_span_context()
    assert context is not None
    start, end = span.start_time or 0, span.end_time or 0
    own = new_span(tracer, span.name, context.trace_id, context.span_id, 1, None, start - OFFSET, 0)
    own._end = end - OFFSET
    own._kind = span.kind
    own._trace_state = context.trace_state or None
    if span.parent is not None:
        own._parent_id = span.parent.span_id
        own._parent_remote = span.parent.is_remote
        own._parent_context = span.parent
    own._attributes = dict(span.attributes or {}) or None
    own._events = list(span.events) or None
    own._links = tuple(span.links) or None
    own._status_code = span.status.status_code
    own._status_description = span.status.description
    own._dropped_attributes = span.dropped_attributes
    own._dropped_events = span.dropped_events
    own._dropped_links = span.dropped_links
    own._simple = not any(
        (
            context.trace_state,
            span.parent is not None and span.parent.is_remote,
            span.events,
            span.links,
            span.status.status_code is not StatusCode.UNSET,
            span.dropped_attributes,
            span.dropped_events,
            span.dropped_links,
        )
    )
    return own


encodable_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
any_text = st.one_of(
    encodable_text, st.text(max_size=200), st.sampled_from(["", "ok", "\ud800", "x" * 300])
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    any_text,
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, 1, -1, 127, 128, 16_383, 16_384, 2**21, 2**63, -(2**63) - 1, 2**80]),
    st.floats(),
    st.binary(max_size=20),
    st.sampled_from([Level.LOW, Name.A, 0.0, -0.0, 1.0, bytearray(b"ab")]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(any_text, inner, max_size=3),
    ),
    max_leaves=6,
)
if not BoundedAttributes(attributes={"nested": {"none": None}}):
    # Older releases keep plain values and sequences of one type, and have no None.
    plain = [any_text, st.booleans(), st.integers(-(2**70), 2**70), st.floats()]
    values = st.one_of(*plain, *[st.lists(kind, max_size=3) for kind in plain])
# Few keys and few values, so that examples meet in the caches.
keys = st.one_of(st.sampled_from(["a", "b", "\ud800"]), any_text)
attributes = st.dictionaries(
    keys, st.one_of(st.sampled_from([1, True, 1.0, "1", 0, False, 0.0]), values), max_size=5
)
counts = st.one_of(st.just(0), st.integers(0, 2**32 - 1))
trace_ids = st.integers(1, 2**128 - 1)
span_ids = st.integers(1, 2**64 - 1)
# After the offset: a monotonic reading is never 0.
times = st.one_of(st.integers(OFFSET + 1, OFFSET + 10**12), st.integers(OFFSET + 1, 2**64 - 1))


@st.composite
def bounded_attributes(draw: st.DrawFn) -> BoundedAttributes:
    bounded = BoundedAttributes(attributes=draw(attributes), immutable=False)
    bounded.dropped = draw(counts)
    return bounded


@st.composite
def contexts(draw: st.DrawFn) -> SpanContext:
    state = draw(
        st.sampled_from(
            [None, TraceState(), TraceState([("v", "1")]), TraceState([("b", "2"), ("a", "x")])]
        )
    )
    return SpanContext(
        draw(trace_ids),
        draw(span_ids),
        is_remote=draw(st.booleans()),
        trace_flags=TraceFlags(draw(st.integers(0, 3))),
        trace_state=state,
    )


@st.composite
def bounded_lists(draw: st.DrawFn, items: st.SearchStrategy[Any]) -> BoundedList:
    drawn = draw(st.lists(items, max_size=3))
    bounded = BoundedList.from_seq(3, drawn)
    bounded.dropped = draw(counts)
    return bounded


events = st.builds(
    Event,
    name=encodable_text,
    attributes=bounded_attributes(),
    timestamp=st.one_of(st.none(), times),
)
links = st.builds(Link, context=contexts(), attributes=bounded_attributes())
statuses = st.one_of(
    st.just(Status(StatusCode.UNSET)),
    st.just(Status(StatusCode.OK)),
    st.builds(Status, st.just(StatusCode.ERROR), st.one_of(st.none(), encodable_text)),
)
scopes = st.sampled_from(
    [
        SCOPE,
        InstrumentationScope("cache-service", "1.2"),
        InstrumentationScope("gpu"),
        InstrumentationScope("", "", "https://example.com/schema", {"a": 1, "bad": "\ud800"}),
    ]
)
resources = st.sampled_from(
    [
        RESOURCE,
        Resource({"service.name": "media", "process.pid": 7}),
        Resource({"x": ("y", "z")}, "https://example.com/schema"),
        Resource({}),
    ]
)


@st.composite
def sdk_spans(draw: st.DrawFn) -> ReadableSpan:
    start = draw(times)
    return an_sdk_span(
        name=draw(st.one_of(st.sampled_from(["get", "set"]), encodable_text)),
        context=draw(contexts()),
        parent=draw(st.one_of(st.none(), contexts())),
        kind=draw(st.sampled_from(SpanKind)),
        attributes=draw(st.one_of(st.none(), bounded_attributes())),
        events=draw(bounded_lists(events)),
        links=draw(bounded_lists(links)),
        status=draw(statuses),
        start_time=start,
        end_time=draw(st.integers(start, 2**64 - 1)),
        resource=draw(resources),
        instrumentation_scope=draw(scopes),
    )


ENCODER = SpanEncoder()


@pytest.mark.patient
@settings(max_examples=100, deadline=None)
@given(st.lists(sdk_spans(), max_size=4))
def test_sdk_spans_read_as_the_reference_encodes_them(spans: list[ReadableSpan]) -> None:
    """Any batch of SDK spans decodes to the reference's message, with warm caches too."""
    assert decoded(ENCODER.encode(spans)) == expected(spans)


@pytest.mark.patient
@settings(max_examples=100, deadline=None)
@given(st.lists(sdk_spans(), max_size=4))
def test_own_spans_read_as_the_reference_encodes_them(spans: list[ReadableSpan]) -> None:
    """Any batch of spans of ours decodes to the reference's message for the same content."""
    tracers: dict[tuple[int, int], Any] = {}
    own = []
    for span in spans:
        scope = span.instrumentation_scope
        assert scope is not None
        tracer = tracers.setdefault((id(scope), id(span.resource)), a_tracer(scope, span.resource))
        own.append(a_studio_span(tracer, span))
    assert decoded(ENCODER.encode(own)) == expected(spans)
    assert expected(own) == expected(spans)


class _Kept:
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def consume(self, spans: Sequence[ReadableSpan]) -> None:
        self.spans.extend(spans)


def test_spans_of_the_provider_itself_read_as_the_reference_encodes_them() -> None:
    """Spans as a service makes them: nested, remote parents, failures, links, explicit times."""
    provider = StudioTracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    kept = _Kept()
    provider.add_span_processor(kept)
    tracer = provider.get_tracer("cache-service", "1.2")
    state = TraceState([("vendor", "x")])
    remote = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1), trace_state=state)
    parent = set_span_in_context(NonRecordingSpan(remote))
    with tracer.start_as_current_span("server", parent, SpanKind.SERVER, {"a": 1}):
        with tracer.start_as_current_span("inner", links=[Link(remote, {"why": "batch"})]) as inner:
            inner.add_event("seen", {"n": 1})
        with (
            pytest.raises(KeyError),
            provider.get_tracer("db").start_as_current_span("query", kind=SpanKind.CLIENT),
        ):
            raise KeyError("absent")
    explicit = tracer.start_span("explicit", start_time=OFFSET)
    explicit.set_status(StatusCode.OK)
    explicit.end(OFFSET + 77)
    provider.ended.fold()
    assert [span.name for span in kept.spans] == ["inner", "query", "server", "explicit"]
    assert decoded(SpanEncoder().encode(kept.spans)) == expected(kept.spans)


def test_an_empty_batch_is_an_empty_request() -> None:
    """No spans: no resource either."""
    assert SpanEncoder().encode([]) == b""


def test_spans_of_both_kinds_share_their_resource_and_scope() -> None:
    """A batch that mixes our spans and the SDK's still names each resource and scope once."""
    sdk = an_sdk_span()
    mixed = [sdk, a_studio_span(a_tracer(), an_sdk_span()), sdk]
    request = ExportTraceServiceRequest.FromString(SpanEncoder().encode(mixed))
    assert len(request.resource_spans) == 1
    assert len(request.resource_spans[0].scope_spans) == 1
    assert len(request.resource_spans[0].scope_spans[0].spans) == 3


def test_a_span_without_scope_or_times_is_as_in_the_reference() -> None:
    """What a span lacks is left out, as the reference leaves it out."""
    spans = [
        an_sdk_span(instrumentation_scope=None),
        an_sdk_span(start_time=None, end_time=None),
        an_sdk_span(status=None),
    ]
    assert decoded(SpanEncoder().encode(spans)) == expected(spans)


@pytest.mark.parametrize(
    "changes",
    [{"start_time": -1}, {"end_time": 2**64}, {"context": None}, {"kind": 3}],
    ids=["negative time", "time too large", "no context", "no kind"],
)
def test_a_span_that_cannot_be_encoded_does_not_cost_the_batch(changes: dict[str, Any]) -> None:
    """The reference loses the whole batch; here the one span is left out and counted."""
    good = an_sdk_span()
    encoder = SpanEncoder()
    assert decoded(encoder.encode([good, an_sdk_span(**changes), good])) == expected([good, good])
    assert encoder.unencodable == 1
    assert guard.internal_errors["OTLP encoding of a span"] == 1


def test_an_own_span_that_cannot_be_encoded_does_not_cost_the_batch() -> None:
    """The same on the path of our own spans."""
    tracer = a_tracer()
    good, bad = (a_studio_span(tracer, an_sdk_span()) for _ in range(2))
    bad._trace_id = 2**128
    encoder = SpanEncoder()
    assert decoded(encoder.encode([bad, good])) == expected([an_sdk_span()])
    assert encoder.unencodable == 1


def test_a_lone_surrogate_in_a_name_becomes_a_question_mark() -> None:
    """Names have to be text: the reference would lose the whole batch."""
    span = an_sdk_span(
        name="a\ud800b",
        events=(Event("\udfff", timestamp=1),),
        status=Status(StatusCode.ERROR, "\ud800"),
    )
    request = ExportTraceServiceRequest.FromString(SpanEncoder().encode([span]))
    encoded = request.resource_spans[0].scope_spans[0].spans[0]
    assert (encoded.name, encoded.events[0].name, encoded.status.message) == ("a?b", "?", "?")


def test_an_attribute_left_out_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """An integer over 64 bits has no form in OTLP; the log says so once, not per span."""
    spans = [an_sdk_span(attributes={"big": 2**64, "small": 1})] * 3
    assert decoded(SpanEncoder().encode(spans)) == expected(spans)
    assert [record.getMessage() for record in caplog.records] == [
        "attribute 'big' is left out of the export: 18446744073709551616 does not fit in 64 bits"
    ]


def test_the_caches_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """New names, keys, values, scopes and resources without end do not pile up."""
    for bound in ("_MAX_NAMES", "_MAX_OWNERS", "_MAX_KEYS", "_MAX_VALUES"):
        monkeypatch.setattr(_otlp_caches, bound, 5)
    encoder = SpanEncoder()
    spans = [
        an_sdk_span(
            name=f"n{number}",
            attributes={"same": f"v{number}", "count": number, f"k{number}": "x" * number},
            instrumentation_scope=InstrumentationScope(f"s{number}"),
            resource=Resource({"r": number}),
        )
        for number in range(300)
    ]
    assert decoded(encoder.encode(spans)) == expected(spans)
    assert all(len(shape) <= 5 for shape in encoder._shapes.values())
    assert len(encoder._attributes) <= 5
    assert all(
        len(known.texts) <= 5 and len(known.integers) <= 5 for known in encoder._attributes.values()
    )
    assert len(encoder._resources._frames) <= 5
    assert len(encoder._scopes._frames) <= 5


def test_large_batches_and_fields_keep_their_lengths() -> None:
    """Lengths of one, two and more bytes are written right."""
    spans = [
        an_sdk_span(name="n" * size, attributes={"k" * size: "v" * size})
        for size in (0, 1, 50, 100, 126, 127, 128, 900, 16_383, 16_384, 100_000)
    ]
    assert decoded(SpanEncoder().encode(spans)) == expected(spans)


def test_names_and_keys_of_any_length_are_not_remembered() -> None:
    """They are encoded as others are, and the encoder holds none of them."""
    from otel_studio.exporters._otlp_caches import AttributeCache, SpanShape

    shape, attributes = (
        SpanShape(SpanKind.INTERNAL, has_parent=False, remote=False),
        AttributeCache(),
    )
    for number in range(10):
        name = f"{number}" + "n" * 1_000
        assert name.encode() in shape[name].tail
        assert name.encode() in attributes.fields({name: "value"})
    assert not shape
    assert not attributes
    assert shape["pay"] is shape["pay"]
    assert attributes["amount"] is attributes["amount"]
