"""OpenTelemetry's MeterProvider, with the identity that its Studio gives a forked child."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource

from otel_studio.base.locks import new_lock


class StudioMeterProvider(MeterProvider):
    """A MeterProvider that a Studio owns.

    Args:
        identity: gives what the resource of a forked child says beside the parent's. The SDK
            would put a random instance id over one that the user chose.
        **options: as for the SDK's.
    """

    def __init__(self, identity: Callable[[], Resource], **options: Any) -> None:
        self._identity = identity
        super().__init__(**options)
        # The SDK's own are not re-entrant: a finalizer may ask for a meter inside.
        self._lock = self._meter_lock = new_lock()  # type: ignore[assignment]

    def _handle_fork(self) -> None:
        super()._handle_fork()
        self._lock = self._meter_lock = new_lock()  # type: ignore[assignment]
        self._update_resource(self._identity())
