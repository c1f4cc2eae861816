"""What the allocators hold and use, against what the test allocates."""

from __future__ import annotations

import gc
import os
import sys
import sysconfig
from pathlib import Path

import pytest

from otel_studio.process import allocators
from otel_studio.process.allocators import AllocatorReading, read_allocators


def of(name: str) -> AllocatorReading:
    for reading in read_allocators():
        if reading.allocator == name:
            return reading
    pytest.skip(f"{name} tells nothing here")


def test_small_objects_are_in_pythons_own_allocator() -> None:
    """A hundred thousand objects of 64 bytes show as used, and as free once they are gone."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("the free-threaded build has another allocator")
    gc.collect()  # what earlier tests have left would be collected in between
    before = of("pymalloc")
    keep = [bytes(31) for _ in range(100_000)]
    during = of("pymalloc")
    assert during.used - before.used == pytest.approx(100_000 * 64, rel=0.1)
    assert during.held >= during.used
    every_tenth = keep[::10]
    del keep
    after = of("pymalloc")
    assert after.used - before.used == pytest.approx(10_000 * 64, rel=0.3)
    assert 1 - after.used / after.held > 1 - during.used / during.held
    assert len(every_tenth) == 10_000


def test_large_blocks_are_in_the_c_librarys() -> None:
    """A block is mapped on its own: held and used rise by it, and fall again.

    Larger than what an earlier test can have left free; nothing is written, so none is resident.
    """
    gc.collect()
    before = of("malloc")
    block = bytearray(1_000_000_000)
    during = of("malloc")
    assert during.held - before.held == pytest.approx(1e9, rel=0.05)
    assert during.used - before.used == pytest.approx(1e9, rel=0.05)
    del block
    assert of("malloc").held == pytest.approx(before.held, abs=5_000_000)


def test_nothing_is_written_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    """The interpreter's report goes to memory: the program's own output stays as it is."""
    read_allocators()
    assert capfd.readouterr() == ("", "")


def test_an_allocator_that_does_not_tell_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another C library, or a report of another shape, gives no figure and no error."""

    class NoLibrary:
        def __getattr__(self, name: str) -> None:
            raise AttributeError(name)

    monkeypatch.setattr(allocators.ctypes, "CDLL", lambda name: NoLibrary())
    assert read_allocators() == ()


def test_without_pythons_allocator_there_is_no_figure_of_it(tmp_path: Path) -> None:
    """With PYTHONMALLOC=malloc only the C library is left to ask."""
    import subprocess

    script = "from otel_studio.process.allocators import read_allocators as r; print(r())"
    answer = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONMALLOC": "malloc", "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pymalloc" not in answer.stdout
