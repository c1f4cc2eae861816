"""For who writes an instrumentation package: what to report to, and how to wrap and restore.

A cache that a library keeps reports to a `Cache`, or gives its own counters as a `CacheReading`;
`Patches` puts functions around those of a library and takes them away again; what fails in them
goes to `report_internal_error`, never to the program. `new_lock` is a lock that signal handlers,
finalizers and forked children do not wait for. `outcome_of` tells what an exception makes
of the run that it leaves. An encoder tells of itself as an
`EncodeSource`. Importing this loads nothing: each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_studio.base.face import lazy_names

if TYPE_CHECKING:
    from otel_studio.base.guard import report_internal_error, warn_once
    from otel_studio.base.locks import new_lock
    from otel_studio.caches import UNKNOWN_KEY, Cache, CacheReading
    from otel_studio.caches.patches import Function, Patches
    from otel_studio.gpu.encoders import (
        EncodeSource,
        EncodeStatistics,
        RunningEncode,
        register_encode_source,
    )
    from otel_studio.operations.binding import outcome_of

__all__ = [
    "UNKNOWN_KEY",
    "Cache",
    "CacheReading",
    "EncodeSource",
    "EncodeStatistics",
    "Function",
    "Patches",
    "RunningEncode",
    "new_lock",
    "outcome_of",
    "register_encode_source",
    "report_internal_error",
    "warn_once",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "UNKNOWN_KEY": "otel_studio.caches",
        "Cache": "otel_studio.caches",
        "CacheReading": "otel_studio.caches",
        "EncodeSource": "otel_studio.gpu.encoders",
        "EncodeStatistics": "otel_studio.gpu.encoders",
        "Function": "otel_studio.caches.patches",
        "Patches": "otel_studio.caches.patches",
        "RunningEncode": "otel_studio.gpu.encoders",
        "new_lock": "otel_studio.base.locks",
        "outcome_of": "otel_studio.operations.binding",
        "register_encode_source": "otel_studio.gpu.encoders",
        "report_internal_error": "otel_studio.base.guard",
        "warn_once": "otel_studio.base.guard",
    },
)
