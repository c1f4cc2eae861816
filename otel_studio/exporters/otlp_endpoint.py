"""Tells whether the address of an OTLP receiver can be one, before anything is sent there."""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import urlsplit

_VARIABLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"


def check_endpoint(protocol: str, signal: str) -> None:
    """Refuse an endpoint in the environment that OpenTelemetry's exporters could never reach.

    Args:
        protocol: "http/protobuf" or "grpc", whose addresses need no scheme.
        signal: "traces", "metrics" or "logs".

    Raises:
        ValueError: if it can be no address; it says what to write.

    Source: https://opentelemetry.io/docs/specs/otel/protocol/exporter/.
    """
    for variable in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", _VARIABLE):
        value = os.environ.get(variable)
        if value:
            problem = _problem(value, needs_scheme=protocol != "grpc")
            if problem:
                raise ValueError(f"{variable}={value!r} {problem}")
            return


def _problem(value: str, *, needs_scheme: bool) -> str | None:
    """Return what is wrong with an address and what to write, `None` where nothing is."""
    plain = value.strip().strip("\"'").strip()
    if plain != value:
        return f"has quotes or spaces around it: write {plain}"
    if any(character.isspace() for character in value):
        return "has a space in it: write one address, such as http://localhost:4318"
    address = urlsplit(value)
    if not needs_scheme:
        return None
    if "://" not in value:
        return f"has no scheme: write http://{value}, or https://{value} where the receiver has TLS"
    if address.scheme not in ("http", "https"):
        rest = value.partition("://")[2]
        return f"has a scheme that is not HTTP's: write http://{rest} or https://{rest}"
    if not address.hostname:
        return "names no host: write one, such as http://localhost:4318"
    try:
        address.port  # noqa: B018  (it is read from the text here)
    except ValueError:
        return "has a port that is no number up to 65535: write one, such as http://localhost:4318"
    return None
