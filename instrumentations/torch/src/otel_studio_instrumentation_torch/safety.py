"""Keeps failures of this package away from the host program: logged once each place."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)

_reported: set[str] = set()


def report_failure(place: str, error: BaseException) -> None:
    """Log an internal failure with its traceback, the first time it comes from a place.

    Args:
        place: what was being done, in words a user can act on.
        error: what was raised.
    """
    if place in _reported:
        return
    _reported.add(place)
    try:
        logger.warning("%s failed; the program is not affected", place, exc_info=error)
    except Exception:  # a handler of the host may raise; that is not ours to pass on
        pass
