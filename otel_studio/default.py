"""The default Studio of the process: configured once, shut down at the interpreter's exit."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Unpack

from opentelemetry import trace as trace_api

from otel_studio import (
    forking,
    guard,
    operations,
    otel_private,
    parts,
    ports,
    wrapping,
)
from otel_studio.caches import handle as cache_handles
from otel_studio.config import SettingsKeywords, load_settings
from otel_studio.studio import Studio
from otel_studio.tracing.provider import StudioTracerProvider
from otel_studio.tracing.tracer import StudioTracer

_lock = threading.RLock()
_default: Studio | None = None
_override: list[Studio] = []
#: Tracers of isolated Studios that have ended: the next provider takes them over.
_orphans: weakref.WeakSet[StudioTracer] = weakref.WeakSet()


class NotConfigured(RuntimeError):
    """A query before `configure()`, or after `shutdown()`."""


def configure(**keywords: Unpack[SettingsKeywords]) -> Studio:
    """Start OTel Studio in this process; nothing leaves it unless an exporter is asked for.

    A second call with the same settings does nothing; with others it says what differs and
    changes nothing. Where OpenTelemetry providers are set already (by the program or by
    `opentelemetry-instrument`), it attaches to them.

    Args:
        **keywords: settings by name; what is not given comes from the environment
            (`OTEL_*`, `OTEL_STUDIO_*`), `[tool.otel_studio]` in pyproject.toml, or the default.

    Returns:
        the Studio, whose parts (registry, providers) can be used directly.

    Raises:
        ConfigurationError: for a keyword that is no setting, or a value it cannot take.

    Example:
        >>> import otel_studio
        >>> _ = otel_studio.configure(service_name="media-backend")
    """
    global _default
    settings = load_settings(**keywords)
    with _lock:
        if _default is not None:
            differing = _default.settings.differences(settings)
            if differing:
                guard.logger.warning(
                    "otel_studio.configure() was called again with other settings, and the first "
                    "ones stay: %s. Call otel_studio.shutdown() first to change them.",
                    "; ".join(differing),
                )
            return _default
        studio = Studio(settings, attach=not settings.sdk_disabled)
        caches = cache_handles.process_registry()
        caches.adopt(**parts.cache_settings(settings))
        studio.use_caches(caches)
        if not _override:  # else at the end of the isolated block
            _install(studio)
        _default = studio
        studio.start()
        _register_for_exit()
    if settings.instrument and not settings.sdk_disabled:
        from otel_studio import autotrack

        autotrack.install(settings.instrument)
    return studio


def _install(studio: Studio) -> None:
    """Make a Studio's providers the ones that operations and OpenTelemetry's API use."""
    if studio.settings.sdk_disabled:
        ports.use_tracer_provider(trace_api.NoOpTracerProvider())
        return
    if studio.owns_tracer_provider:
        before = otel_private.global_tracer_provider()
        for tracers in (getattr(before, "made_tracers", ()), _orphans):
            _hand_tracers(tracers, studio.tracer_provider)
        otel_private.replace_global_tracer_provider(studio.tracer_provider, for_good=True)
    if studio.owns_meter_provider:
        otel_private.replace_global_meter_provider(studio.meter_provider, for_good=True)
    ports.use_tracer_provider(studio.tracer_provider)
    wrapping.keep_argument_characters(studio.settings.captured_argument_length)
    with studio.registry.reading():
        for name in operations.declared_services():
            studio.registry.service(name)
    for probe in operations.memory_probes:
        probe.track(studio.resources.memory)


def _declare_service(name: str) -> None:
    studio = _override[-1] if _override else _default
    if studio is not None and name not in studio.registry.services:
        with studio.registry.reading():
            studio.registry.service(name)


def _track_memory(probe: operations.MemoryProbe) -> None:
    studio = _override[-1] if _override else _default
    if studio is not None:
        probe.track(studio.resources.memory)


operations.service_listeners.append(_declare_service)
operations.memory_listeners.append(_track_memory)


def shutdown(timeout: float | None = None) -> bool:
    """Flush and stop; at most 5 seconds, with every backend down.

    Args:
        timeout: seconds until this returns; by default the setting `shutdown_timeout`.

    Returns:
        whether everything was sent in time. Without a `configure()` before it: `True`.
    """
    global _default
    with _lock:
        studio, _default = _default, None
    if studio is None:
        return True
    if studio.settings.instrument:
        from otel_studio import autotrack

        autotrack.uninstall()
    done = studio.shutdown(timeout)
    ports.use_tracer_provider(None)
    return done


def current() -> Studio:
    """Return the Studio that queries read: the innermost isolated one, else the default.

    Raises:
        NotConfigured: if there is none.
    """
    studio = _override[-1] if _override else _default
    if studio is None:
        raise NotConfigured(
            "OTel Studio is not running: "
            "call otel_studio.configure() once at the start of the program"
        )
    return studio


@contextmanager
def overriding(studio: Studio) -> Iterator[Studio]:
    """Make a Studio the current one inside the block, for operations, queries and OpenTelemetry."""
    tracers, meters = otel_private.global_tracer_provider(), otel_private.global_meter_provider()
    before, default = ports.tracer_provider_in_use(), _default
    _override.append(studio)
    _hand_tracers(_orphans, studio.tracer_provider)
    caches = cache_handles.use_registry(studio.caches)
    otel_private.replace_global_tracer_provider(studio.tracer_provider)
    otel_private.replace_global_meter_provider(studio.meter_provider)
    ports.use_tracer_provider(studio.tracer_provider)
    characters = wrapping.keep_argument_characters(studio.settings.captured_argument_length)
    try:
        yield studio
    finally:
        _override.remove(studio)
        cache_handles.use_registry(caches)
        otel_private.replace_global_tracer_provider(tracers)
        otel_private.replace_global_meter_provider(meters)
        ports.use_tracer_provider(before)
        wrapping.keep_argument_characters(characters)
        _hand_tracers(getattr(studio.tracer_provider, "made_tracers", ()), tracers)
        if _default is not None and _default is not default and not _override:
            _install(_default)  # configured inside the block
        studio.shutdown()


def _hand_tracers(tracers: Iterable[StudioTracer], provider: Any) -> None:
    """Let tracers belong to a provider; where it is none of ours, to the next that is."""
    if isinstance(provider, StudioTracerProvider):
        provider.adopt(tracers)
    else:
        _orphans.update(tracers)


_exits = False


def _register_for_exit() -> None:
    global _exits
    if not _exits:
        _exits = True
        atexit.register(shutdown)


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


forking.lock_renewals.append(_renew_lock)
