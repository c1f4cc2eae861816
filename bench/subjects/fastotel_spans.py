"""The SDK's spans through fastotel's processor, which encodes and sends them in Rust."""

from __future__ import annotations

from fastotel import OTLPSpanProcessor

from bench.subject import Subject
from bench.subjects import _hand_written


def make(endpoint: str) -> Subject:
    """Return the subject; it has no pipeline without an endpoint."""
    return _hand_written.spans_only(OTLPSpanProcessor(endpoint=f"{endpoint}/v1/traces"))
