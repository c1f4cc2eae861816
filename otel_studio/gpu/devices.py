"""Lists the cards and their MIG devices, and says which they are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from otel_studio.gpu.device import CallHistory, Device, DriverGone
from otel_studio.gpu.nvml import DRIVER_GONE_CODES, NO_PERMISSION, UNKNOWN, Nvml, NvmlFailure, text
from otel_studio.gpu.tiers import DeviceIdentity

_MIG_ENABLED = 1
#: Devices looked at; the largest machines have 16 cards of 7 parts each.
_MAX_DEVICES = 256


class DeviceList:
    """Finds the devices, by UUID; `count` is how many cards the driver said there are.

    Args:
        nvml: the open library.
        memory: shared by all devices.
    """

    def __init__(self, nvml: Nvml, history: CallHistory) -> None:
        self.count = 0
        self._nvml = nvml
        self._history = history

    def find(self, known: Mapping[str, Device]) -> dict[str, Device]:
        """Return the devices there are now, cards before their parts.

        Args:
            known: those of the last time; one that is still there is kept, with what it
                remembers, and gets its present handle.

        Raises:
            DriverGone: if the driver does not answer.
        """
        found: dict[str, Device] = {}
        self.count = self._ask_count()
        for index in range(min(self.count, _MAX_DEVICES)):
            handle = self._ask("nvmlDeviceGetHandleByIndex", index)
            card = None if handle is None else self._device(handle, known, None)
            if card is None:
                continue
            found[card.identity.uuid] = card
            for part_handle in self._mig_handles(handle):
                part = self._device(part_handle, known, card.identity.uuid)
                if part is not None and len(found) < _MAX_DEVICES:
                    found[part.identity.uuid] = part
        return found

    def _device(
        self, handle: Any, known: Mapping[str, Device], parent: str | None
    ) -> Device | None:
        uuid = _optional_text(self._ask("nvmlDeviceGetUUID", handle))
        if uuid is None:
            return None
        device = known.get(uuid)
        if device is None:
            return Device(self._nvml, handle, self._identify(handle, uuid, parent), self._history)
        device.rebind(handle)
        return device

    def _identify(self, handle: Any, uuid: str, parent: str | None) -> DeviceIdentity:
        model = _optional_text(self._ask("nvmlDeviceGetName", handle))
        place = self._pci_address(handle) if parent is None else self._mig_place(handle)
        serial = _optional_text(self._ask("nvmlDeviceGetSerial", handle)) if not parent else None
        return DeviceIdentity(
            uuid=uuid,
            name=" ".join(word for word in (model or "GPU", place) if word),
            model=model,
            serial=serial if serial and serial.strip("0") else None,
            driver_version=_optional_text(self._ask("nvmlSystemGetDriverVersion")),
            parent=parent,
        )

    def _pci_address(self, handle: Any) -> str | None:
        """Return what tells two cards of a model apart and stays as others come and go."""
        pci = self._ask("nvmlDeviceGetPciInfo", handle)
        return None if pci is None else f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}.0"

    def _mig_place(self, handle: Any) -> str | None:
        gpu_instance = self._ask("nvmlDeviceGetGpuInstanceId", handle)
        compute_instance = self._ask("nvmlDeviceGetComputeInstanceId", handle)
        if gpu_instance is None or compute_instance is None:
            return None
        return f"GI {gpu_instance} CI {compute_instance}"

    def _mig_handles(self, handle: Any) -> list[Any]:
        mode = self._ask("nvmlDeviceGetMigMode", handle)
        if mode is None or mode[0] != _MIG_ENABLED:
            return []
        places = min(self._ask("nvmlDeviceGetMaxMigDeviceCount", handle) or 0, _MAX_DEVICES)
        asked = (self._ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, i) for i in range(places))
        return [part for part in asked if part is not None]

    def _ask_count(self) -> int:
        try:
            return int(self._nvml.call("nvmlDeviceGetCount"))
        except NvmlFailure as failure:
            raise DriverGone(str(failure)) from None

    def _ask(self, function: str, *args: Any) -> Any:
        try:
            value = self._nvml.call(function, *args)
        except NvmlFailure as failure:
            if failure.code == UNKNOWN:
                if self._history.strike("", function):  # it is this call that breaks, every time
                    return None
                raise DriverGone(str(failure)) from None
            if failure.code in DRIVER_GONE_CODES:
                raise DriverGone(str(failure)) from None
            if failure.code == NO_PERMISSION:
                self._history.say(
                    logging.WARNING, "", function, "A GPU is not fully visible here: %s", failure
                )
            return None
        self._history.worked("", function)
        return value


def _optional_text(value: str | bytes | None) -> str | None:
    return None if value is None else text(value).strip() or None
