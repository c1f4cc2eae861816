"""Tells whether what OTLP's variables say can be meant, before anything is sent."""

from __future__ import annotations

import math
import os
from typing import Final
from urllib.parse import urlsplit

from otel_studio.base.guard import warn_once

_PREFIX: Final = "OTEL_EXPORTER_OTLP"
_EXAMPLES: Final = {"http/protobuf": "http://localhost:4318", "grpc": "localhost:4317"}
#: What begins an address that is gRPC's own affair; https://grpc.github.io/grpc/core/md_doc_naming.html.
_NAMES_OF_GRPC: Final = ("dns:", "unix:", "unix-abstract:", "ipv4:", "ipv6:", "vsock:", "xds:")
#: Seconds that nobody waits: so many are milliseconds, as OpenTelemetry's specification has them.
_NO_SECONDS: Final = 1_000


def check_variables(protocol: str, signal: str) -> None:
    """Refuse what OpenTelemetry's exporters could never send by; warn of what is hardly meant.

    Args:
        protocol: "http/protobuf" or "grpc", whose addresses need no scheme.
        signal: "traces", "metrics" or "logs".

    Raises:
        ValueError: if an endpoint can be no address, or a timeout no time; it says what to write.

    Source: https://opentelemetry.io/docs/specs/otel/protocol/exporter/.
    """
    variable, value = _given("ENDPOINT", signal)
    problem = _problem_of_address(value, protocol) if value else None
    if problem:
        raise ValueError(f"{variable}={_without_login(value)!r} {problem}")
    variable, value = _given("TIMEOUT", signal)
    if value:
        _check_timeout(variable, value, protocol)
    variable, value = _given("HEADERS", signal)
    if value and _unquoted(value) != value.strip():
        warn_once(
            "otlp",
            variable,
            "%s has quotes around it, which become part of a header's name and value: write "
            "name=value without them",
            variable,
        )


def _given(what: str, signal: str) -> tuple[str, str]:
    """Return the variable that OpenTelemetry's exporter reads, and what it says."""
    own, general = f"{_PREFIX}_{signal.upper()}_{what}", f"{_PREFIX}_{what}"
    variable = own if os.environ.get(own) else general
    return variable, os.environ.get(variable, "")


def _unquoted(value: str) -> str:
    return value.strip().strip("\"'").strip()


def _without_login(value: str) -> str:
    """Return an address without a user's name and password, which a log is not to have."""
    scheme, separator, rest = value.rpartition("://")
    return scheme + separator + rest.rpartition("@")[2]


def _problem_of_address(value: str, protocol: str) -> str | None:
    """Return what is wrong with an address and what to write, `None` where nothing is."""
    example = _EXAMPLES[protocol]
    plain = _unquoted(value)
    if not plain:
        return f"is empty: write an address, such as {example}, or leave it out"
    # Those before an HTTP address are taken away where it is used.
    if plain != (value if protocol == "grpc" else value.lstrip()):
        return f"has quotes or spaces around it: write {_without_login(plain)}"
    if any(character.isspace() for character in plain):
        return f"has a space in it: write one address, such as {example}"
    if protocol == "grpc":
        return _problem_of_target(value, example)
    if "://" not in plain:
        rest = _without_login(plain).removeprefix("//")
        return f"has no scheme: write http://{rest}, or https://{rest} where the receiver has TLS"
    if not plain.lower().startswith(("http://", "https://")):
        rest = _without_login(plain).partition("://")[2]
        return f"has a scheme that is not HTTP's: write http://{rest} or https://{rest}"
    return _problem_of_host(plain, example)


def _problem_of_target(value: str, example: str) -> str | None:
    """Return what is wrong with an address of gRPC's."""
    if value.startswith(_NAMES_OF_GRPC):
        return None
    if "://" in value:  # of which OpenTelemetry's exporter takes host and port
        return _problem_of_host(value, example)
    host, slash, _ = value.partition("/")
    if host.count(":") > 1 and "[" not in host:  # of IPv6, without a port
        host = f"[{host}]"
    problem = _problem_of_host(f"//{host}", example)
    if problem is None and slash:
        return f"has a path, which no address of gRPC's has: write {host}"
    return problem


def _problem_of_host(url: str, example: str) -> str | None:
    try:
        address = urlsplit(url)
        address.port  # noqa: B018  (it is read from the text here)
    except ValueError as error:
        return f"can be no address ({error}): write one, such as {example}"
    return None if address.hostname else f"names no host: write one, such as {example}"


def _check_timeout(variable: str, value: str, protocol: str) -> None:
    try:
        seconds = float(value)
    except ValueError:
        if protocol != "grpc":
            return  # the exporter says that it takes its default
        seconds = math.nan
    if not seconds > 0:
        raise ValueError(f"{variable}={value!r} is no number of seconds above 0: write one, as 10")
    if seconds >= _NO_SECONDS:
        warn_once(
            "otlp",
            variable,
            "%s=%s is taken for seconds by OpenTelemetry's exporters for Python: write %g if it "
            "is in milliseconds",
            variable,
            value,
            seconds / 1000,
        )
