"""OTel Studio: tells what a Python service is doing, from inside it, on OpenTelemetry's API.

Importing it loads no SDK: each name below is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_studio import api
    from otel_studio.caches.handle import CacheHandle, cache
    from otel_studio.config import ConfigurationError
    from otel_studio.default import NotConfigured, configure, shutdown
    from otel_studio.operations import (
        Operation,
        Service,
        Tracker,
        current_operation,
        instrument,
        service,
        track,
    )
    from otel_studio.studio import Studio
    from otel_studio.testing.isolation import Isolated, isolated
    from otel_studio.version import __version__

__all__ = [
    "CacheHandle",
    "ConfigurationError",
    "Isolated",
    "NotConfigured",
    "Operation",
    "Service",
    "Studio",
    "Tracker",
    "__version__",
    "api",
    "cache",
    "configure",
    "current_operation",
    "instrument",
    "isolated",
    "service",
    "shutdown",
    "track",
]

_HOMES = {
    "CacheHandle": "caches.handle",
    "cache": "caches.handle",
    "ConfigurationError": "config",
    "Isolated": "testing.isolation",
    "NotConfigured": "default",
    "Operation": "operations",
    "Service": "operations",
    "Studio": "studio",
    "Tracker": "operations",
    "__version__": "version",
    "configure": "default",
    "current_operation": "operations",
    "instrument": "operations",
    "isolated": "testing.isolation",
    "service": "operations",
    "shutdown": "default",
    "track": "operations",
}


#: What imports OpenTelemetry's SDK.
_ON_THE_SDK = frozenset({"api", "default", "studio", "testing.isolation"})


def __getattr__(name: str) -> Any:
    from importlib import import_module

    home = "api" if name == "api" else _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'otel_studio' has no attribute {name!r}")
    if home in _ON_THE_SDK:
        from otel_studio.sdk_environment import leave_out_unusable

        leave_out_unusable()
    if name == "api":
        return import_module("otel_studio.api")
    value = getattr(import_module(f"otel_studio.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
