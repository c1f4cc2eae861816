"""One GPU or MIG device: its identity, and figures read call by call."""

from __future__ import annotations

import logging
from collections import Counter, deque
from typing import Any, NamedTuple

from otel_studio.base.guard import logger, raised_by_signal_handler
from otel_studio.gpu.nvml import (
    DRIVER_GONE_CODES,
    INVALID_ARGUMENT,
    LOST_CODES,
    NO_PERMISSION,
    NOT_FOUND,
    NOT_SUPPORTED,
    SUCCESS,
    UNKNOWN,
    UNSUPPORTED_CODES,
    Nvml,
    NvmlFailure,
    text,
)
from otel_studio.gpu.tiers import DeviceIdentity

#: Failures in a row after which a call that breaks the driver is made no more.
_TOLERATED = 2
#: What the library gives for a number it does not have (NVML_VALUE_NOT_AVAILABLE).
_NOT_AVAILABLE = frozenset({0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF})
#: What a function that lists something fails with when there is nothing; the bindings pass on
#: even success as a failure where they expected the size of a list.
_NO_ENTRIES = frozenset({SUCCESS, NOT_FOUND})
_REFUSALS = frozenset({NOT_SUPPORTED, INVALID_ARGUMENT})
_MAX_SAID = 1_000


class DeviceLost(Exception):
    """The device must not be touched again until the library has been opened anew."""


class DriverGone(Exception):
    """The library must be shut down and opened anew."""


class HandlesStale(Exception):
    """A handle no longer means a device: the devices must be listed again."""


class Attempt(NamedTuple):
    """One way to ask for a figure; `lists` when an answer of no entries comes as a failure."""

    function: str
    arguments: tuple[Any, ...] = ()
    lists: bool = False


class CallHistory:
    """What is remembered across devices and openings: what was said, and which calls misbehave."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str]] = set()
        self._strikes: Counter[tuple[str, str]] = Counter()
        self._unwritten: deque[tuple[int, str, tuple[object, ...]]] = deque()

    def say(self, level: int, device: str, topic: str, message: str, *args: object) -> None:
        """Have a message logged once per device and topic, by the next `write`."""
        if (device, topic) in self._said or len(self._said) >= _MAX_SAID:
            return
        self._said.add((device, topic))
        self._unwritten.append((level, message, args))

    def write(self) -> None:
        """Log what was said, and never fail; not under the driver's lock, for handlers may wait."""
        for _ in range(len(self._unwritten)):
            try:
                level, message, args = self._unwritten.popleft()
                logger.log(level, message, *args)
            except Exception as error:  # a handler of the host's may raise; or there is none left
                if raised_by_signal_handler(error):
                    raise

    def strike(self, device: str, function: str) -> bool:
        """Count a failure of a call, and return whether it is to be made no more."""
        self._strikes[device, function] += 1
        return self._strikes[device, function] >= _TOLERATED

    def worked(self, device: str, function: str) -> None:
        """Forget the failures of a call that works again."""
        if self._strikes:
            self._strikes.pop((device, function), None)


class Device:
    """A device and its handle; remembers which calls this device does not support.

    Args:
        nvml: the open library.
        handle: the device's handle, good until the library is closed.
        identity: which device it is.
        history: shared with the other devices.
    """

    def __init__(
        self, nvml: Nvml, handle: Any, identity: DeviceIdentity, history: CallHistory
    ) -> None:
        self.identity = identity
        self.last_process_sample_us = 0
        self.silences: int | None = None
        self.encoder: bool | None = None
        self._nvml = nvml
        self._handle = handle
        self._history = history
        self._dropped: set[Attempt] = set()

    @property
    def is_mig(self) -> bool:
        """Whether it is a part of a card rather than a card."""
        return self.identity.parent is not None

    def rebind(self, handle: Any) -> None:
        """Take the handle that the device has now."""
        self._handle = handle

    def confirm(self) -> None:
        """Check that the handle still means this device; those of MIG devices are reused.

        Raises:
            HandlesStale: if it means another one, or none.
        """
        try:
            uuid = text(self._nvml.call("nvmlDeviceGetUUID", self._handle))
        except NvmlFailure as failure:
            self._raise_if_gone(failure)
            raise HandlesStale(str(failure)) from None
        if uuid != self.identity.uuid:
            raise HandlesStale(f"the handle of {self.identity.uuid} now means {uuid}")

    def read(self, figure: str, *attempts: Attempt) -> Any:
        """Return a figure by the first way that this device supports, or `None`.

        Args:
            figure: its name, for the log.
            attempts: the ways to ask, the best one first.

        Raises:
            DeviceLost: if the device is gone.
            DriverGone: if the driver is gone.
            HandlesStale: if the handle is not valid any more.
        """
        failed: NvmlFailure | None = None
        for attempt in attempts:
            if attempt in self._dropped:
                continue
            try:
                value = self._nvml.call(attempt.function, self._handle, *attempt.arguments)
            except NvmlFailure as failure:
                if attempt.lists and failure.code in _NO_ENTRIES:
                    return ()
                if not self._is_for_good(figure, failure):
                    return None
                self._dropped.add(attempt)
                failed = failure
            else:
                self._history.worked(self.identity.uuid, attempt.function)
                return None if _is_sentinel(value) else value
        if failed is not None:
            level = logging.WARNING if failed.code == NO_PERMISSION else logging.INFO
            name = self.identity.name
            self._say(level, figure, "%s has no figure for %s: %s", name, figure, failed)
        return None

    def refuses(self, attempt: Attempt) -> bool:
        """Return whether the device says that it does not support a call.

        Args:
            attempt: the call.

        Raises:
            DeviceLost: if the device is gone.
            DriverGone: if the driver is gone.
        """
        try:
            self._nvml.call(attempt.function, self._handle, *attempt.arguments)
        except NvmlFailure as failure:
            self._raise_if_gone(failure)
            return failure.code in _REFUSALS
        return False

    def _is_for_good(self, figure: str, failure: NvmlFailure) -> bool:
        """Tell a call that this device will never answer from one to be made again."""
        self._raise_if_gone(failure)
        if failure.code in UNSUPPORTED_CODES:
            return True
        if failure.code == INVALID_ARGUMENT:
            self.confirm()
            return True  # the handle is good, so it is the call
        if failure.code == UNKNOWN:  # the strikes of this call are used up
            return True
        self._say(
            logging.WARNING,
            f"{figure} failed",
            "%s: %s could not be read this time: %s (not logged again)",
            self.identity.name,
            figure,
            failure,
        )
        return False

    def _raise_if_gone(self, failure: NvmlFailure) -> None:
        if failure.code in LOST_CODES:
            raise DeviceLost(failure.meaning)
        if failure.code == UNKNOWN and self._history.strike(self.identity.uuid, failure.function):
            # It breaks again right after the driver was opened anew: the call is to blame.
            return
        if failure.code in DRIVER_GONE_CODES:
            raise DriverGone(str(failure))

    def _say(self, level: int, topic: str, message: str, *args: object) -> None:
        self._history.say(level, self.identity.uuid, topic, message, *args)


def _is_sentinel(value: Any) -> bool:
    return isinstance(value, int) and value in _NOT_AVAILABLE
