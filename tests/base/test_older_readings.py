"""What version 1 of each reading wrote is read: by this version, and by a next one that upgrades.

Each file in `older/` holds, in hexadecimal, what one version wrote. A file is never written anew:
a later version of a reading gets another one beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from otel_studio.base import codec, outcome
from otel_studio.base._codec_types import Forms, Registration
from otel_studio.base.sketch import Sketch
from otel_studio.caches import CacheReading, CachesReading, OneCacheReading
from otel_studio.caches.heavy_hitters import HotKeys
from otel_studio.caches.reading import CachePart, CacheSizes
from otel_studio.caches.reuse import ReuseDistances
from otel_studio.caches.windows import Tallies
from otel_studio.gpu.encoders import EncodePart, EncodeStatistics
from otel_studio.gpu.reading import reading_of
from otel_studio.gpu.tiers import (
    DeviceIdentity,
    DeviceSnapshot,
    FastFigures,
    MediumFigures,
    ProcessShare,
    SlowFigures,
)
from otel_studio.logs.reading import LogsPart, LogsReading
from otel_studio.metrics.instrument_points import Count, Last, Latest, Level
from otel_studio.metrics.instruments_reading import Instrument, InstrumentsReading, PointKey
from otel_studio.metrics.self_report import SelfPart, SelfReading
from otel_studio.process.allocators import AllocatorReading
from otel_studio.process.event_loop import LoopReading
from otel_studio.process.machine_reading import MachineReading
from otel_studio.process.memory_records import AllocationWindow, PackageMemory
from otel_studio.process.process_reading import CollectionCounts, ProcessCounts, ProcessPart
from otel_studio.process.reading import ResourceReading
from otel_studio.process.service_memory import ServiceReading as ServiceMemoryReading
from otel_studio.process.system import SystemReading
from otel_studio.process.watch_reading import AllocationSums, PauseReading, WatchPart
from otel_studio.registry.errors import ErrorGroup
from otel_studio.registry.kept import KeptFailure, KeptRun
from otel_studio.registry.operation import Bounds, Operation
from otel_studio.registry.reading import (
    ProcessMoment,
    RegistryReading,
    ServicePart,
    ServiceReading,
)
from otel_studio.registry.series import Series
from otel_studio.spans.ended_run import KeptLog

OLDER = Path(__file__).parent / "older"

RUN = KeptRun(
    service="shop \ud800",
    operation="pay",
    trace_id=2**127 + 1,
    span_id=2**63 + 1,
    flags=1,
    start_ns=1_000,
    end_ns=3_500,
    start_time=1_700_000_000_000_000_000,
    result=outcome.ERROR,
    attributes={"text": "a", "flag": True, "number": 2**62, "share": 0.1, "many": ("a", 1, None)},
    children={("shop", "reserve"): (700, 2)},
    failure=KeptFailure("ValueError", "shop.py in pay", "no card", "Traceback ..."),
    logs=(KeptLog(1_700_000_000_000_000_001, "WARNING", "shop", "no card", None),),
)
OPERATION = Operation(
    bounds=Bounds((1_000, 10_000), 10, 5),
    sketch=Sketch({150: 2}),
    count=2,
    total=5_000,
    minimum=2_500,
    maximum=2_500,
    exact_extremes=False,
    errors=1,
    cancelled=1,
    abandoned=3,
    series={
        (None, ("acme",)): Series(1, 2_500, None, None, (0, 1, 0), (None, None, None)),
        ("ValueError", ("",)): Series(1, 2_500, 2_500, 2_500, (0, 1, 0), (None, RUN, None)),
    },
    label_names=("tenant",),
    label_overflow=1,
    recent=(RUN,),
    slowest=(RUN,),
    last_failed=RUN,
)
REGISTRY = RegistryReading(
    {
        "shop \ud800": ServiceReading(
            {
                "p-1": ServicePart(
                    began_ns=1,
                    since_ns=1_700_000_000_000_000_000,
                    operations={"pay": OPERATION},
                    groups={
                        ("ValueError", "shop.py in pay"): ErrorGroup(
                            1, None, 5, {"pay": 1}, RUN, None, ((5, 2**127 + 1),), 5
                        )
                    },
                    groups_overflowed=1,
                    overflowed=2,
                    ended={60: 2},
                )
            }
        )
    },
    {"p-2": ProcessMoment(9, 10, {("shop", "pay"): 1}, 7, 8, 1)},
)
CACHES = CachesReading(
    7,
    {
        ("shop", "previews"): OneCacheReading(
            "previews",
            "shop",
            {
                "p-1": CachePart(
                    hits=3,
                    misses=1,
                    sets=1,
                    evictions={"size": 1},
                    windows=Tallies({1: (3, 1, 1, 9)}, {0: (3, 1, 1, 9)}, {}),
                    durations={0: {9: 1}},
                    slow={0: ((9, 1, "a", 10), (8, 0, None, 9))},
                    hot_keys=HotKeys({"a": 3}, {"a": 1}, 1),
                    reuse=ReuseDistances({2: 1.5}, 0.5, 2.0, 1),
                    sizes=CacheSizes(6, 1, 100, 200, True, CacheReading(hits=4), None, True),
                )
            },
        )
    },
)
PROCESS = ResourceReading(
    {
        "p": ProcessPart(
            unix_ns=5,
            counts=ProcessCounts(cpu_user_ns=7, major_faults=1),
            collections=(CollectionCounts(0, 1, 2, 3),),
            pid=17,
            resident=1_000,
            uptime=1.5,
            cpu={"user": 0.25},
            allocators=(AllocatorReading("malloc", 10, 5, "mallinfo2"),),
            gc_enabled=False,
        )
    },
    {
        "p-1": WatchPart(
            unix_ns=5,
            pauses=(PauseReading(0, 10, None, (1, 0)),),
            operations={("shop", "pay"): AllocationSums(1, 0, 5, 3, 4_096, None)},
            services={"shop": ServiceMemoryReading("shop", 50, 80, "sized", 5)},
            loops=(LoopReading("main", 0.5, None, 3),),
            window=AllocationWindow("2023", 1.0, 2.0, 0.5, [PackageMemory("shop", 1.0, 2)]),
            traced_services=("shop",),
        )
    },
    MachineReading(5, "p", "boot", SystemReading(memory_limit=100), {"user": 0.5}),
)
GPU = reading_of(
    5,
    "p",
    None,
    [
        DeviceSnapshot(
            DeviceIdentity("GPU-1", "card"),
            FastFigures(1, 2, memory_used=3, energy=4.5),
            MediumFigures(1, share=ProcessShare(memory=6)),
            SlowFigures(1, ecc_corrected=7),
        )
    ],
    {"p-encodes-1": EncodePart(5, 1, 2, 3, EncodeStatistics(queue_length=4, encode_fps=29.97))},
)
INSTRUMENTS = InstrumentsReading(
    5,
    {("app", "orders"): Instrument("1", "{order}", "Orders.")},
    {
        PointKey("app", "orders", "counter", (("kind", "x"),)): Count({"p-1": 3}),
        PointKey("app", "depth", "up_down_counter", ()): Level({"p": Latest(4, 1.5)}),
        PointKey("app", "heat", "gauge", (("many", ("a", "b")),)): Last(Latest(4, 20)),
    },
)
READINGS: dict[str, Any] = {
    "registry": REGISTRY,
    "caches": CACHES,
    "process": PROCESS,
    "gpu": GPU,
    "logs": LogsReading({"p-1": LogsPart({("shop", "pay", "INFO"): 3, ("", "", "ERROR"): 1})}),
    "self": SelfReading({"p-1": SelfPart(3, 5, 1, {"queue_full": 1}, {"shop": 2}, {}, {"x": 1})}),
    "instruments": INSTRUMENTS,
}


def written(name: str) -> bytes:
    return bytes.fromhex("".join((OLDER / f"{name}-1.hex").read_text().split()))


@pytest.mark.parametrize("name", READINGS)
def test_what_version_1_wrote_is_read(name: str) -> None:
    """Every field of it, as it was."""
    expected = READINGS[name]
    assert codec.decode(written(name), type(expected)) == expected


@pytest.mark.parametrize("name", READINGS)
def test_what_version_1_wrote_is_read_by_a_version_that_upgrades(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A next version is given the plain fields of the older one first."""
    expected, seen = READINGS[name], []

    def upgrade(plain: dict[str, Any]) -> dict[str, Any]:
        seen.append(set(plain))
        return plain

    later = Forms()
    later._written_as = dict(codec._forms._written_as)
    later.registered = {
        **codec._forms.registered,
        type(expected): Registration(name, 2, {1: upgrade}),
    }
    monkeypatch.setattr(codec, "_forms", later)
    assert codec.decode(written(name), type(expected)) == expected
    assert len(seen) == 1
    assert codec.decode(codec.encode(expected), type(expected)) == expected
    assert len(seen) == 1
    newer = codec.encode(expected)
    monkeypatch.undo()
    with pytest.raises(codec.CodecError, match="version 2"):
        codec.decode(newer, type(expected))


def test_every_reading_has_what_an_older_version_wrote() -> None:
    """A reading that is new in the codec brings its bytes."""
    names = {known.name for known in codec._forms.registered.values()}
    ours = {name for name in names if not name.startswith(("test-", "doctest-", "instruments."))}
    assert ours == set(READINGS) == {path.stem.removesuffix("-1") for path in OLDER.iterdir()}
