"""For the tests of programs that use OTel Studio: isolation, clocks and ids of a test's own.

The pytest fixture `isolated_studio` comes with the package; there is nothing to import for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_studio.base.face import lazy_names

if TYPE_CHECKING:
    from otel_studio.base.clock import Clock, ManualClock
    from otel_studio.testing.isolation import IncrementalIds, Isolated, isolated

__all__ = ["Clock", "IncrementalIds", "Isolated", "ManualClock", "isolated"]

# A pytest plugin is loaded in every run: the SDK comes with the first name that needs it.
_find, __dir__ = lazy_names(
    __name__,
    {
        "Clock": "otel_studio.base.clock",
        "IncrementalIds": "otel_studio.testing.isolation",
        "Isolated": "otel_studio.testing.isolation",
        "ManualClock": "otel_studio.base.clock",
        "isolated": "otel_studio.testing.isolation",
    },
)


def __getattr__(name: str) -> Any:
    if name in ("IncrementalIds", "Isolated", "isolated"):
        from otel_studio.settings.sdk_environment import leave_out_unusable

        leave_out_unusable()
    return _find(name)
