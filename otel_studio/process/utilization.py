"""Turns growing processor seconds into fractions over windows that every reader shares."""

from __future__ import annotations

from collections.abc import Mapping


class UtilizationWindow:
    """Fractions of the processors in use over the last closed window.

    Readers come at their own pace and must not shorten each other's interval, so a window
    closes by its own length alone, whoever asks. Before the first has closed there is no
    figure.

    Args:
        seconds: the least that a window lasts.

    Source: OpenTelemetry's conventions: the difference of the CPU time, divided by the elapsed
    time and by the number of processors.
    """

    def __init__(self, seconds: float) -> None:
        self._least_ns = round(seconds * 1e9)
        #: When the present window began and the seconds then: changed together, in one step.
        self._window: tuple[int, dict[str, float]] | None = None
        self.fractions: dict[str, float] = {}

    def update(self, now_ns: int, seconds: Mapping[str, float | None], cpus: float | None) -> None:
        """Take a reading, and close the window when it is long enough.

        Args:
            now_ns: the monotonic time of the reading.
            seconds: growing seconds by mode; a mode without a source is `None`.
            cpus: processors to divide by, or `None` when that is not known.
        """
        known = {mode: value for mode, value in seconds.items() if value is not None}
        if self._window is None:
            self._window = (now_ns, known)
            return
        began_ns, before = self._window
        elapsed = (now_ns - began_ns) / 1e9
        if now_ns - began_ns < self._least_ns or elapsed <= 0:
            return
        growth = {mode: value - before.get(mode, value) for mode, value in known.items()}
        # Seconds that went back are another process's, or another group's.
        usable = cpus is not None and all(grown >= 0 for grown in growth.values())
        if cpus and usable:
            self.fractions = {mode: grown / (elapsed * cpus) for mode, grown in growth.items()}
        else:
            self.fractions = {}
        self._window = (now_ns, known)

    def forget(self) -> None:
        """Begin anew, without a figure."""
        self._window = None
        self.fractions = {}
