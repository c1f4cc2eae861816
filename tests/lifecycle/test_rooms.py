"""The rooms of a Studio: each is built when it is first used, and once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from otel_studio.caches.registry import CacheRegistry
from otel_studio.gpu.monitor import GpuMonitor
from otel_studio.process.monitor import ProcessMonitor
from otel_studio.testing.isolation import isolated

THREADS = 8


@pytest.mark.parametrize(
    ("name", "kind"),
    [("caches", CacheRegistry), ("process", ProcessMonitor), ("gpu", GpuMonitor)],
)
def test_threads_that_ask_at_once_get_the_same_room(monkeypatch, name, kind):
    """Two of a kind would report each figure twice, and one's counts would be lost."""
    built = []
    all_ask = threading.Barrier(THREADS)
    original = kind.register_instruments

    def slowly(room, meter):
        built.append(room)
        never.wait(0.05)  # time for a second builder to get here, if there were one
        original(room, meter)

    never = threading.Event()
    with isolated() as s:
        rooms = s.studio._rooms
        setattr(rooms, f"_{name}", None)
        monkeypatch.setattr(kind, "register_instruments", slowly)

        def ask(_number):
            all_ask.wait(5)
            return getattr(s.studio, name)

        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(ask, range(THREADS)))
    assert len(built) == 1
    assert {id(room) for room in found} == {id(built[0])}
