"""The Studio that runs, for those who may be there before it: asking for it loads no SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from otel_studio.operations import seat

if TYPE_CHECKING:
    from otel_studio.assembly.studio import Studio


def current() -> Studio | None:
    """Return the Studio that runs: that of the innermost `isolated()`, else `configure()`'s.

    Returns:
        the Studio, or `None` before `configure()` and after `shutdown()`.

    Example:
        >>> import otel_studio
        >>> with otel_studio.isolated() as s:
        ...     otel_studio.current() is s.studio
        True
    """
    return cast("Studio | None", seat.current().occupant)


def force_flush(timeout: float = 5.0) -> bool:
    """Send everything that has ended by now, and go on: before a short-lived worker is frozen.

    Args:
        timeout: seconds until this returns, at most, also where a backend is down.

    Returns:
        whether everything was sent in time. Where no Studio runs, nothing waits to be sent:
        `True`, as for `shutdown`.

    Example:
        >>> import otel_studio
        >>> otel_studio.force_flush(timeout=2.0)
        True
    """
    studio = current()
    return True if studio is None else studio.force_flush(timeout)
