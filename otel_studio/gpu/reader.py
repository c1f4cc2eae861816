"""Reads all devices tier by tier, and keeps going when devices or the driver come and go."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

from otel_studio.base.guard import note_internal_error
from otel_studio.gpu.device import CallHistory, Device, DeviceLost, DriverGone, HandlesStale
from otel_studio.gpu.devices import DeviceList
from otel_studio.gpu.nvml import Bindings, Nvml, NvmlUnavailable, load_bindings
from otel_studio.gpu.own_process import OwnProcess
from otel_studio.gpu.schedule import Tier
from otel_studio.gpu.tier_reads import Totals, read_fast, read_medium, read_slow
from otel_studio.gpu.tiers import DeviceSnapshot

NO_DEVICES = "the NVIDIA driver reports no devices"
NONE_VISIBLE = "the NVIDIA driver has devices, but lets this process see none of them"
NOT_LISTED = "the driver does not list the device any more"
ANSWERS_NOTHING = "the device answers none of the calls that it used to answer"
#: Fast readings without a figure, in a row, after which a device counts as lost.
_MAX_SILENCES = 3

_SECOND = 1_000_000_000
_MAX_BACKOFF_NS = 60 * _SECOND
#: Failed devices that are still shown; a machine does not lose more without being replaced.
_MAX_FAILED = 64


class GpuReader:
    """Owns the connection to the driver and the devices; used by one thread at a time.

    Args:
        process: the calling process, as the driver may know it.
        load: returns the bindings of NVML.
    """

    def __init__(self, process: OwnProcess, load: Callable[[], Bindings] = load_bindings) -> None:
        self.reason: str | None = None
        self.is_hopeless = False
        self._process = process
        self._nvml = Nvml(load)
        self._history = CallHistory()
        self._list = DeviceList(self._nvml, self._history)
        self._totals = Totals()
        self._devices: dict[str, Device] = {}
        self._shown: dict[str, DeviceSnapshot] = {}
        self._is_open = False
        self._retry_at_ns = 0
        self._backoff_ns = _SECOND

    def read(self, due: frozenset[Tier], now_ns: int, wall_ns: int) -> tuple[DeviceSnapshot, ...]:
        """Read the tiers that are due, and return every device with its last readings.

        Args:
            due: the tiers to read.
            now_ns: the monotonic clock, in nanoseconds.
            wall_ns: the wall clock, in nanoseconds since the Unix epoch.
        """
        try:
            if self._is_open:
                self._refresh(due)
            else:
                self._connect(now_ns)
            if self._is_open:
                self._read_all(due, now_ns, wall_ns)
        except DriverGone as gone:
            self._disconnect(f"the NVIDIA driver is gone: {gone}", now_ns)
        return tuple(self._shown.values())

    def wait_ns(self, now_ns: int) -> int | None:
        """Return nanoseconds until a closed driver is tried again, `None` while it is open.

        Args:
            now_ns: the monotonic clock, in nanoseconds.
        """
        return None if self._is_open else max(0, self._retry_at_ns - now_ns)

    def write_said(self) -> None:
        """Log what came up while devices were read; not to be called while the driver is held."""
        self._history.write()

    def close(self) -> None:
        """Give the library back."""
        self._is_open = False
        self._devices = {}
        self._nvml.close()

    def _connect(self, now_ns: int) -> None:
        if self.is_hopeless or now_ns < self._retry_at_ns:
            return
        try:
            self._nvml.open()
        except NvmlUnavailable as unavailable:
            self.is_hopeless = unavailable.permanent
            self._fail(unavailable.reason, now_ns)
            return
        self._is_open = True
        self._devices = self._list.find({})
        if not self._devices and not self._shown:
            self.close()
            self._fail(NONE_VISIBLE if self._list.count else NO_DEVICES, now_ns)
            return
        self.reason = None
        self._settle()

    def _refresh(self, due: frozenset[Tier]) -> None:
        """List the devices again once a minute; with a failed one, by opening the library anew."""
        if Tier.SLOW not in due:
            return
        if any(shown.failed_because is not None for shown in self._shown.values()):
            self._nvml.close()
            try:
                self._nvml.open()
            except NvmlUnavailable as unavailable:
                raise DriverGone(unavailable.reason) from None
        self._devices = self._list.find(self._devices)
        self._settle()

    def _read_all(self, due: frozenset[Tier], now_ns: int, wall_ns: int) -> None:
        stale = self._read_these(list(self._devices), due, now_ns, wall_ns)
        if stale:
            self._devices = self._list.find(self._devices)
            self._settle()
            again = [uuid for uuid in self._devices if uuid in stale or uuid not in self._shown]
            self._read_these(again, due, now_ns, wall_ns)
        if self._devices:
            self._backoff_ns = _SECOND

    def _read_these(
        self, uuids: list[str], due: frozenset[Tier], now_ns: int, wall_ns: int
    ) -> list[str]:
        """Read devices, and return those whose handles turned out to mean something else."""
        stale: list[str] = []
        for uuid in uuids:
            device = self._devices.get(uuid)
            if device is None:
                continue
            try:
                self._read_device(device, due, now_ns, wall_ns)
            except DeviceLost as lost:
                self._lose(uuid, str(lost))
            except HandlesStale:
                stale.append(uuid)
            except DriverGone:
                raise
            except Exception as error:  # a fault of ours with one device leaves the others alone
                note_internal_error(f"reading the GPU {uuid}", error)
        return stale

    def _read_device(self, device: Device, due: frozenset[Tier], now_ns: int, wall_ns: int) -> None:
        """Read the tiers that are due, and those that a device found just now has never had."""
        uuid = device.identity.uuid
        shown = self._shown.get(uuid)
        if shown is None or shown.failed_because is not None:
            shown = DeviceSnapshot(device.identity)
        if Tier.FAST in due or shown.fast is None:
            fast = read_fast(device, self._totals, now_ns, wall_ns)
            _notice_silence(device, has_figures=fast.has_figures)
            self._shown[uuid] = shown = dataclasses.replace(shown, fast=fast)
        if Tier.MEDIUM in due or shown.medium is None:
            medium = read_medium(device, self._process, now_ns)
            self._shown[uuid] = shown = dataclasses.replace(shown, medium=medium)
        if Tier.SLOW in due or shown.slow is None:
            slow = read_slow(device, self._totals, now_ns)
            self._shown[uuid] = dataclasses.replace(shown, slow=slow)

    def _settle(self) -> None:
        """Say what came back and what is missing since the devices were listed last."""
        for uuid, shown in list(self._shown.items()):
            if uuid in self._devices:
                if shown.failed_because is not None:
                    self._say(logging.INFO, shown, "back", "%s is back", shown.identity.name)
            elif shown.identity.parent in self._devices:
                del self._shown[uuid]  # a MIG layout was changed: nothing failed
            else:
                self._lose(uuid, shown.failed_because or NOT_LISTED)
        self._totals.forget_except(self._shown.keys() | self._devices.keys())

    def _lose(self, uuid: str, reason: str) -> None:
        """Show a device, and the MIG devices that are parts of it, as failed."""
        for lost, shown in list(self._shown.items()):
            if uuid in (lost, shown.identity.parent):
                self._devices.pop(lost, None)
                self._show_failed(shown, reason)
        device = self._devices.pop(uuid, None)
        if device is not None:  # it was lost before it could be read once
            self._show_failed(DeviceSnapshot(device.identity), reason)

    def _show_failed(self, shown: DeviceSnapshot, reason: str) -> None:
        uuid = shown.identity.uuid
        self._say(logging.WARNING, shown, "lost", "%s is lost: %s", shown.identity.name, reason)
        self._shown[uuid] = DeviceSnapshot(shown.identity, failed_because=reason)
        failed = [known for known, shown in self._shown.items() if shown.failed_because is not None]
        for oldest in failed[:-_MAX_FAILED]:
            del self._shown[oldest]

    def _disconnect(self, reason: str, now_ns: int) -> None:
        self.close()
        for uuid, shown in self._shown.items():
            self._shown[uuid] = DeviceSnapshot(shown.identity, failed_because=reason)
        self._fail(reason, now_ns)

    def _fail(self, reason: str, now_ns: int) -> None:
        """Remember why there are no figures, and when to try again."""
        self.reason = reason
        self._retry_at_ns = now_ns + self._backoff_ns
        self._backoff_ns = min(2 * self._backoff_ns, _MAX_BACKOFF_NS)
        level = logging.INFO if self.is_hopeless or reason == NO_DEVICES else logging.WARNING
        self._history.say(level, "", reason, "No GPU figures: %s", reason)

    def _say(
        self, level: int, shown: DeviceSnapshot, topic: str, message: str, *args: object
    ) -> None:
        self._history.say(level, shown.identity.uuid, topic, message, *args)


def _notice_silence(device: Device, *, has_figures: bool) -> None:
    if has_figures:
        device.silences = 0
    elif device.silences is not None:
        device.silences += 1
        if device.silences >= _MAX_SILENCES:
            raise DeviceLost(ANSWERS_NOTHING)
