"""The default Studio of the process: configured once, shut down at the interpreter's exit."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Unpack

from opentelemetry import trace as trace_api

from otel_studio.assembly import from_settings
from otel_studio.assembly.studio import Studio
from otel_studio.assembly.termination import Termination
from otel_studio.base import guard, otel_private
from otel_studio.base.locks import new_lock
from otel_studio.base.weak_members import WeakMembers
from otel_studio.caches import handle as cache_handles
from otel_studio.operations import seat
from otel_studio.operations.seat import Seat
from otel_studio.running import current
from otel_studio.settings.loading import (
    Settings,
    SettingsKeywords,
    checked_keywords,
    load_settings,
)
from otel_studio.spans.provider import StudioTracerProvider
from otel_studio.spans.tracer import StudioTracer

_lock = new_lock()
#: Tracers of isolated Studios that have ended: the next provider takes them over.
_orphans: Final[WeakMembers[StudioTracer]] = WeakMembers()


class NotConfigured(RuntimeError):
    """A query before `configure()`, or after `shutdown()`."""


def configure(**keywords: Unpack[SettingsKeywords]) -> Studio:
    """Start OTel Studio in this process; nothing leaves it unless an exporter is asked for.

    A second call changes nothing and returns the same Studio. Only what it is given is compared:
    a setting that differs from the first call's is said in a warning with both values, secrets
    left out; a call with no setting, or with the same ones, says nothing.

    Where OpenTelemetry providers are set already (by the program or by
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
    given = checked_keywords(keywords)
    studio = _configured() or _start_once(load_settings(**keywords))
    if differing := studio.settings.differences(given):
        guard.logger.warning(
            "otel_studio.configure() was called again with other settings, and the first "
            "ones stay: %s. Call otel_studio.shutdown() first to change them.",
            "; ".join(differing),
        )
    return studio


def _configured() -> Studio | None:
    occupant = seat.own().occupant
    return occupant if isinstance(occupant, Studio) else None


def _start_once(settings: Settings) -> Studio:
    with _lock:
        studio = _configured()
        if studio is not None:  # another thread was first
            return studio
        studio = _started(Studio(settings, attach=not settings.sdk_disabled))
    if settings.instrument and not settings.sdk_disabled:
        from otel_studio.operations import autotrack

        autotrack.install(settings.instrument)
    return studio


def _started(studio: Studio) -> Studio:
    """Let a new Studio take the process's own seat, and start it."""
    settings = studio.settings
    caches = cache_handles.process_registry()
    caches.adopt(**from_settings.cache_settings(settings))
    studio.use_caches(caches)
    before = seat.own()
    if not seat.is_isolated():  # else at the end of the isolated block
        _set_providers(studio)
    # What was declared before stays declared; a disabled Studio lets operations do nothing.
    for name in before.services:
        studio.declare_service(name)
    for probe in before.memory_probes:
        studio.track_memory(probe)
    studio.seat = Seat(
        provider=(
            trace_api.NoOpTracerProvider() if settings.sdk_disabled else studio.tracer_provider
        ),
        caches=caches,
        argument_characters=settings.captured_argument_length,
        expected_errors=frozenset(settings.expected_errors),
        max_services=settings.max_services,
        declared=studio.declared,
        occupant=studio,
        services=before.services,
        memory_probes=before.memory_probes,
        encode_sources=before.encode_sources,
    )
    seat.replace_own(studio.seat)
    studio.start()
    _register_for_exit()
    _termination.follow()
    return studio


def _set_providers(studio: Studio) -> None:
    """Make a Studio's providers those of OpenTelemetry's API."""
    if studio.settings.sdk_disabled:
        return
    if studio.owns_tracer_provider:
        before = otel_private.global_tracer_provider()
        for tracers in (getattr(before, "made_tracers", ()), _orphans):
            _hand_tracers(tracers, studio.tracer_provider)
        otel_private.replace_global_tracer_provider(
            studio.tracer_provider, gives_way=_join_tracer_provider
        )
    if studio.owns_meter_provider:
        otel_private.replace_global_meter_provider(
            studio.meter_provider, gives_way=_join_meter_provider
        )


def _join_tracer_provider() -> None:
    studio = _configured()
    if studio is not None:
        studio.join_tracer_provider(otel_private.global_tracer_provider())


def _join_meter_provider() -> None:
    studio = _configured()
    if studio is not None:
        studio.join_meter_provider(otel_private.global_meter_provider())


def shutdown(timeout: float | None = None) -> bool:
    """Flush and stop; at most 5 seconds, with every backend down.

    Args:
        timeout: seconds until this returns; by default the setting `shutdown_timeout`.

    Returns:
        whether everything was sent in time. Without a `configure()` before it: `True`.
    """
    _termination.leave()
    return _shutdown(timeout)


def _shutdown(timeout: float | None = None, *, at_exit: bool = False) -> bool:
    with _lock:
        own = seat.own()
        studio = own.occupant
        if not isinstance(studio, Studio):
            return True
        own.occupant = None
    if studio.settings.instrument:
        from otel_studio.operations import autotrack

        autotrack.uninstall()
    done = studio.shutdown(timeout, at_exit=at_exit)
    seat.replace_own(
        Seat(
            caches=own.caches,
            services=own.services,
            memory_probes=own.memory_probes,
            encode_sources=own.encode_sources,
        )
    )
    return done


def required() -> Studio:
    """Return the Studio that queries read: the innermost isolated one, else the default.

    Raises:
        NotConfigured: if there is none.
    """
    studio = current()
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
    default = seat.own().occupant
    isolated = Seat(
        provider=studio.tracer_provider,
        caches=studio.caches,
        argument_characters=studio.settings.captured_argument_length,
        expected_errors=frozenset(studio.settings.expected_errors),
        max_services=studio.settings.max_services,
        declared=studio.declared,
        occupant=studio,
    )
    studio.seat = isolated
    _hand_tracers(_orphans, studio.tracer_provider)
    otel_private.replace_global_tracer_provider(studio.tracer_provider)
    otel_private.replace_global_meter_provider(studio.meter_provider)
    seat.isolate(isolated)
    try:
        yield studio
    finally:
        seat.end_isolation(isolated)
        otel_private.replace_global_tracer_provider(tracers)
        otel_private.replace_global_meter_provider(meters)
        _hand_tracers(getattr(studio.tracer_provider, "made_tracers", ()), tracers)
        configured = seat.own().occupant
        if configured is default or seat.is_isolated():
            pass
        elif isinstance(configured, Studio):  # configured inside the block
            _set_providers(configured)
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
        atexit.register(_end_at_exit)


def _end_at_exit() -> None:
    with _termination.ending():
        _shutdown(at_exit=True)


def _send_now() -> None:
    studio = _configured()
    if studio is not None:
        studio.force_flush(studio.settings.shutdown_timeout)


def _patience() -> float:
    studio = _configured()
    return 0.0 if studio is None else studio.settings.shutdown_timeout


def _has_something_to_send() -> bool:
    studio = _configured()
    return studio is not None and studio.has_exporters


_termination = Termination(
    send=_send_now,
    end=lambda: _shutdown(at_exit=True),
    patience=_patience,
    has_something=_has_something_to_send,
)
if hasattr(os, "register_at_fork"):
    # A worker of gunicorn's may run a server of uvicorn's, which only it has loaded.
    os.register_at_fork(after_in_child=_termination.follow_uvicorn)
