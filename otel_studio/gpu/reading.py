"""One reading of the GPUs: the devices, never added up, and what processes do with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TypeVar

from otel_studio.base.codec import readable
from otel_studio.base.optional_sums import total
from otel_studio.base.reading import add_parts, subtract_parts
from otel_studio.gpu.encoders import EncodePart, EncodeStatistics, statistics_of
from otel_studio.gpu.tiers import (
    DeviceSnapshot,
    ProcessShare,
)

N = TypeVar("N", int, float)


@dataclasses.dataclass(frozen=True, slots=True)
class DevicePart:
    """A device as one process saw it.

    Attributes:
        unix_ns: when.
        epoch: of the process; of two of one time, it decides.
        snapshot: the device, without any process's own share.
    """

    unix_ns: int
    epoch: str
    snapshot: DeviceSnapshot

    def or_later(self, other: DevicePart) -> DevicePart:
        """Return the later of two."""
        return other if (other.unix_ns, other.epoch) >= (self.unix_ns, self.epoch) else self


@dataclasses.dataclass(frozen=True, slots=True)
class SharePart:
    """What one process uses of each device, by UUID, as it was last seen."""

    unix_ns: int
    shares: Mapping[str, ProcessShare] = dataclasses.field(default_factory=dict)

    def __add__(self, other: SharePart) -> SharePart:
        """Return the later."""
        return other if other.unix_ns >= self.unix_ns else self

    def __sub__(self, earlier: SharePart) -> SharePart:
        """Return what was last seen."""
        return self


@readable("gpu")
@dataclasses.dataclass(frozen=True, slots=True)
class GpuReading:
    """The GPUs of a machine as one process sees them, or several, or over a window of time.

    Attributes:
        unix_ns: when it was taken.
        epoch: of the process that took it last.
        reason: why that one has no devices.
        devices: by UUID; of each, whoever saw it last.
        shares: what each process uses of them, by the process's epoch.
        encodes: what each source says of its encodes, by the source's epoch.
    """

    unix_ns: int = 0
    epoch: str = ""
    reason: str | None = None
    devices: Mapping[str, DevicePart] = dataclasses.field(default_factory=dict)
    shares: Mapping[str, SharePart] = dataclasses.field(default_factory=dict)
    encodes: Mapping[str, EncodePart] = dataclasses.field(default_factory=dict)

    def __add__(self, other: GpuReading) -> GpuReading:
        """Return both together: each device once, as it was seen last."""
        later = other if (other.unix_ns, other.epoch) >= (self.unix_ns, self.epoch) else self
        devices = dict(self.devices)
        for uuid, part in other.devices.items():
            devices[uuid] = devices[uuid].or_later(part) if uuid in devices else part
        return GpuReading(
            later.unix_ns,
            later.epoch,
            later.reason,
            devices,
            add_parts(self.shares, other.shares),
            add_parts(self.encodes, other.encodes),
        )

    def __sub__(self, earlier: GpuReading) -> GpuReading:
        """Return what was counted since an earlier reading, and what was last seen."""
        devices = {}
        for uuid, part in self.devices.items():
            before = earlier.devices.get(uuid)
            devices[uuid] = (
                part
                if before is None
                else dataclasses.replace(part, snapshot=_since(part.snapshot, before.snapshot))
            )
        return dataclasses.replace(
            self,
            devices=devices,
            shares=subtract_parts(self.shares, earlier.shares),
            encodes=subtract_parts(self.encodes, earlier.encodes),
        )

    @property
    def snapshots(self) -> tuple[DeviceSnapshot, ...]:
        """Every device."""
        return tuple(part.snapshot for part in self.devices.values())

    @property
    def encode_statistics(self) -> EncodeStatistics:
        """What all sources of all processes say of their encodes."""
        return statistics_of(self.encodes.values())

    def share(self, uuid: str) -> ProcessShare | None:
        """Return what all processes together use of a device, `None` where none was asked."""
        shares = [part.shares[uuid] for part in self.shares.values() if uuid in part.shares]
        return together(shares) if shares else None


def together(shares: list[ProcessShare]) -> ProcessShare:
    """Return what several processes use together.

    Args:
        shares: one or more.
    """
    if len(shares) == 1:
        return shares[0]
    return ProcessShare(
        memory=total(share.memory for share in shares),
        general_utilization=_sum(share.general_utilization for share in shares),
        encoder_utilization=_sum(share.encoder_utilization for share in shares),
        decoder_utilization=_sum(share.decoder_utilization for share in shares),
        unknown_because=max(
            (share.unknown_because for share in shares if share.unknown_because), default=None
        ),
    )


def reading_of(
    unix_ns: int,
    epoch: str,
    reason: str | None,
    snapshots: Iterable[DeviceSnapshot],
    encodes: Mapping[str, EncodePart],
) -> GpuReading:
    """Return the reading of one process.

    Args:
        unix_ns: the wall clock, in nanoseconds.
        epoch: of the process.
        reason: why there are no devices.
        snapshots: the devices, what is out of date left out.
        encodes: what each source says, by its epoch.
    """
    devices: dict[str, DevicePart] = {}
    shares: dict[str, ProcessShare] = {}
    for snapshot in snapshots:
        uuid, medium = snapshot.identity.uuid, snapshot.medium
        if medium is not None:
            shares[uuid] = medium.share
            own = dataclasses.replace(medium, share=ProcessShare())
            snapshot = dataclasses.replace(snapshot, medium=own)  # noqa: PLW2901
        devices[uuid] = DevicePart(unix_ns, epoch, snapshot)
    return GpuReading(unix_ns, epoch, reason, devices, {epoch: SharePart(unix_ns, shares)}, encodes)


def _since(now: DeviceSnapshot, then: DeviceSnapshot) -> DeviceSnapshot:
    """Return a device with what it counted since it was seen earlier."""
    fast, slow = now.fast, now.slow
    if fast is not None and then.fast is not None:
        fast = dataclasses.replace(fast, energy=_grown(fast.energy, then.fast.energy))
    if slow is not None and then.slow is not None:
        slow = dataclasses.replace(
            slow,
            ecc_corrected=_grown(slow.ecc_corrected, then.slow.ecc_corrected),
            ecc_uncorrected=_grown(slow.ecc_uncorrected, then.slow.ecc_uncorrected),
            pcie_transmitted=_grown(slow.pcie_transmitted, then.slow.pcie_transmitted),
            pcie_received=_grown(slow.pcie_received, then.slow.pcie_received),
        )
    return dataclasses.replace(now, fast=fast, slow=slow)


def _grown(now: N | None, then: N | None) -> N | None:
    # What went back began anew, with the driver or in another process: all of it came since.
    if now is None or then is None or now < then:
        return now
    return now - then


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
