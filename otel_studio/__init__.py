"""OTel Studio: tells what a Python service is doing, from inside it, on OpenTelemetry's API.

Importing it loads no SDK: each name below is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_studio import api
    from otel_studio.assembly.studio import Studio
    from otel_studio.caches.handle import CacheHandle, cache
    from otel_studio.lifecycle import NotConfigured, configure, shutdown
    from otel_studio.operations.decorator import track
    from otel_studio.operations.decorator_order import DecoratorOrderWarning
    from otel_studio.operations.instrument_services import instrument
    from otel_studio.operations.runs import OperationRun, Tracker, current_operation
    from otel_studio.operations.services import Service, service
    from otel_studio.running import current, force_flush
    from otel_studio.settings.loading import ConfigurationError
    from otel_studio.testing.isolation import Isolated, isolated
    from otel_studio.version import __version__

__all__ = [
    "CacheHandle",
    "ConfigurationError",
    "DecoratorOrderWarning",
    "Isolated",
    "NotConfigured",
    "OperationRun",
    "Service",
    "Studio",
    "Tracker",
    "__version__",
    "api",
    "cache",
    "configure",
    "current",
    "current_operation",
    "force_flush",
    "instrument",
    "isolated",
    "service",
    "shutdown",
    "track",
]

_HOMES = {
    "CacheHandle": "caches.handle",
    "cache": "caches.handle",
    "ConfigurationError": "settings.loading",
    "DecoratorOrderWarning": "operations.decorator_order",
    "Isolated": "testing.isolation",
    "NotConfigured": "lifecycle",
    "OperationRun": "operations.runs",
    "Service": "operations.services",
    "Studio": "assembly.studio",
    "Tracker": "operations.runs",
    "__version__": "version",
    "configure": "lifecycle",
    "current": "running",
    "current_operation": "operations.runs",
    "force_flush": "running",
    "instrument": "operations.instrument_services",
    "isolated": "testing.isolation",
    "service": "operations.services",
    "shutdown": "lifecycle",
    "track": "operations.decorator",
}


#: What imports OpenTelemetry's SDK.
_ON_THE_SDK = frozenset({"api", "lifecycle", "assembly.studio", "testing.isolation"})


def __getattr__(name: str) -> Any:
    from importlib import import_module

    home = "api" if name == "api" else _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'otel_studio' has no attribute {name!r}")
    if home in _ON_THE_SDK:
        from otel_studio.settings.sdk_environment import leave_out_unusable

        leave_out_unusable()
    if name == "api":
        return import_module("otel_studio.api")
    value = getattr(import_module(f"otel_studio.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
