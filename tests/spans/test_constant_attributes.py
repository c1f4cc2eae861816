"""An operation's constant attributes are shared by its runs, and never changed by one of them."""

from __future__ import annotations

import otel_studio
from otel_studio.exporters.otlp_encoding import SpanEncoder
from otel_studio.testing.isolation import isolated


@otel_studio.track("paint", service="shop", attributes={"kind": "oil", "layers": 2})
def paint(layers: int | None = None) -> None:
    if layers is not None:
        operation = otel_studio.current_operation()
        assert operation is not None
        operation.set_attribute("layers", layers)


def test_one_run_changes_none_of_the_others() -> None:
    """A run that sets an attribute of its own has its own; the others keep the constants."""
    with isolated() as s:
        paint()
        paint(5)
        paint()
        found = [dict(span.attributes or {}) for span in s.spans]
    constants = {"kind": "oil", "layers": 2}
    assert found == [constants, {"kind": "oil", "layers": 5}, constants]


def test_they_are_encoded_and_redacted_as_any_others() -> None:
    """The bytes of a run with constants hold them; a secret among them goes out redacted."""

    @otel_studio.track("sign", service="shop", attributes={"password": "hunter2", "kind": "oil"})
    def sign() -> None: ...

    with isolated() as s:
        for _ in range(2):
            paint()
            sign()
        spans = s.spans
        data = SpanEncoder().encode(spans)
    assert data.count(b"layers") == 2
    assert data.count(b"oil") == 4
    assert b"hunter2" not in data
    assert data.count(b"[redacted]") == 2
