"""Builds the scripted stand-in for the NVIDIA driver's library, and writes its scripts."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Mapping
from pathlib import Path

from parts import ROOT, need

SOURCE = ROOT / "tests" / "gpu" / "fake_nvml.c"
LIBRARY_NAME = "libnvidia-ml.so.1"

A10 = "GPU-a1000000-0000-0000-0000-000000000000"
H100 = "GPU-b2000000-0000-0000-0000-000000000001"
MIG_SMALL = "MIG-c3000000-0000-0000-0000-000000000001"
MIG_LARGE = "MIG-c3000000-0000-0000-0000-000000000002"

MEGABYTE = 1_000_000
NOT_SUPPORTED = "!3"
NO_PERMISSION = "!4"

Script = dict[str, str | int]

#: A card with an encoder and a fan, without ECC, remapped rows and 64-bit byte counters.
CARD_WITH_ENCODER: Script = {
    "uuid": A10,
    "name": "NVIDIA A10",
    "serial": "1320921000001",
    "pci": "0000:3b:00",
    "memory": f"{24_000 * MEGABYTE} {500 * MEGABYTE} {6_000 * MEGABYTE}",
    "utilization": "37 12",
    "encoder_utilization": 55,
    "decoder_utilization": 8,
    "temperature": 61,
    "power": 148_250,
    "energy": 9_876_543,
    "fan": 42,
    "clocks": "1695 1695 6251 1500",
    "encoder_capacity.0": 60,
    "encoder_capacity.1": 60,
    "encoder_stats": "2 58 4100",
    "sessions": 2,
    "session.0": "11 4711 0 1920 1080 60 3900",
    "session.1": "12 4712 1 3840 2160 56 4300",
    "compute": 1,
    "compute.0": f"4711 {2_000 * MEGABYTE}",
    "graphics": 0,
    "samples": 1,
    "samples.0": "4711 1000 30 25 4",
    "clock_events": "4",
    "pcie_rate": "120000 45000",
    "pcie_bytes": "1 3020371496 3893142392",
    "pcie_generation": 4,
    "pcie_width": 16,
}
#: A card without encoder and fan, which still says zero of its encoder.
CARD_WITHOUT_ENCODER: Script = {
    "uuid": H100,
    "name": "NVIDIA H100 80GB HBM3",
    "pci": "0001:05:00",
    "memory": f"{80_000 * MEGABYTE} {600 * MEGABYTE} {20_000 * MEGABYTE}",
    "utilization": "99 80",
    "encoder_utilization": 0,
    "decoder_utilization": 0,
    "temperature": 54,
    "power": 640_000,
    "energy": 123_456_789,
    "clocks": "1980 1980 2619 1545",
    "encoder_stats": "0 0 0",
    "sessions": 0,
    "compute": 0,
    "graphics": 0,
    "samples": 0,
    "clock_events": "0",
    "ecc": "17 1",
    "remapped": "2 1 0 0",
    "pcie_bytes": "3 7000000000000 9000000000000",
    "pcie_generation": 5,
    "pcie_width": 16,
}


def two_cards() -> Script:
    """Return a script of two cards, the second one without an encoder."""
    return {
        "driver_version": "570.124.06",
        "count": 2,
        **on(0, CARD_WITH_ENCODER),
        **on(1, CARD_WITHOUT_ENCODER),
    }


def mig_card() -> Script:
    """Return a script of one card that is split into two MIG devices."""
    card = {
        **CARD_WITHOUT_ENCODER,
        "mig_mode": 1,
        "mig_places": 7,
        "utilization": NOT_SUPPORTED,
        "encoder_utilization": NOT_SUPPORTED,
        "decoder_utilization": NOT_SUPPORTED,
    }
    small: Script = {
        "uuid": MIG_SMALL,
        "name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "gpu_instance": 7,
        "compute_instance": 0,
        "memory": f"{9_856 * MEGABYTE} {15 * MEGABYTE} {1_000 * MEGABYTE}",
        "compute": 1,
        "compute.0": f"4711 {900 * MEGABYTE} 7 0",
        "graphics": 0,
    }
    large: Script = {
        "uuid": MIG_LARGE,
        "name": "NVIDIA H100 80GB HBM3 MIG 3g.40gb",
        "gpu_instance": 2,
        "compute_instance": 0,
        "memory": f"{40_192 * MEGABYTE} {37 * MEGABYTE} {12_000 * MEGABYTE}",
        "compute": 0,
        "graphics": 0,
    }
    return {
        "driver_version": "570.124.06",
        "count": 1,
        **on(0, card),
        **on("0.mig.0", small),
        **on("0.mig.3", large),
    }


def on(device: int | str, figures: Mapping[str, str | int]) -> Script:
    """Return a device's figures as lines of a script.

    Args:
        device: 0, 1, ... or "0.mig.0".
        figures: by their names in the script.
    """
    return {f"{device}.{figure}": value for figure, value in figures.items()}


def as_text(script: Mapping[str, str | int]) -> str:
    """Return a script as the library reads it."""
    return "".join(f"{key} = {value}\n" for key, value in script.items())


def build_library(folder: Path, *, old_driver: bool = False) -> Path:
    """Compile the library under its real name into a folder, and return its path.

    Args:
        folder: an empty folder.
        old_driver: without the functions that drivers before 510 did not have.
    """
    library = folder / LIBRARY_NAME
    command: list[str | Path] = [
        need("cc"),
        *(["-DOLD_DRIVER"] if old_driver else []),
        *("-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-O1"),
        f"-Wl,-soname,{LIBRARY_NAME}",
        *("-o", library, SOURCE),
    ]
    subprocess.run(command, check=True)
    return library


class FakeDriver:
    """The loaded library: shows a script, changes it while it is in use, and counts calls.

    Args:
        library: where it was built.
    """

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))
        self.library.fake_nvml_calls.restype = ctypes.c_ulong
        self.script: Script = {}
        self.library.fake_nvml_reset()

    def show(self, script: Mapping[str, str | int]) -> None:
        """Answer from this script from now on."""
        self.script = dict(script)
        self.library.fake_nvml_script(as_text(self.script).encode())

    def change(self, changes: Mapping[str, str | int | None]) -> None:
        """Change single lines of the script; `None` takes a line away."""
        script = {**self.script, **changes}
        self.show({key: value for key, value in script.items() if value is not None})

    def calls(self, function: str = "") -> int:
        """Return how often a function was called, or all of them together."""
        return int(self.library.fake_nvml_calls(function.encode()))

    @property
    def users(self) -> int:
        """How many times the library is open."""
        return int(self.library.fake_nvml_users())
