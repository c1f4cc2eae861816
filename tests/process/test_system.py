"""Limits of control groups and the machine's own figures, from trees made by the tests."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_studio.process.cgroup import CgroupReader, CgroupReading
from otel_studio.process.host_files import HostFiles
from otel_studio.process.psutil_source import PsutilSource
from otel_studio.process.system import SystemReader, SystemReading

GIB = 1 << 30
UNLIMITED_V1 = "9223372036854771712"

MEMINFO = """MemTotal:       16777216 kB
MemFree:         4194304 kB
MemAvailable:    8388608 kB
Buffers:         1048576 kB
Cached:          3145728 kB
SReclaimable:    1048576 kB
SwapTotal:       2097152 kB
SwapFree:        1048576 kB
"""


class FakeMachine:
    """A tree of files that stands for `/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("/proc/meminfo", MEMINFO)
        self.write("/proc/stat", "cpu  100 20 30 4000 50 6 7 8 9 0\ncpu0 1 2 3\n")
        self.write("/proc/vmstat", "pgfault 1000\npgmajfault 10\npswpin 3\npswpout 4\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def v2(self, path: str, mounted: str = "/") -> str:
        self.write("/proc/self/cgroup", f"0::{path}\n")
        self.write(
            "/proc/self/mountinfo",
            "22 1 0:20 / /proc rw - proc proc rw\n"
            f"30 23 0:26 {mounted} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
        )
        return "/sys/fs/cgroup"

    def v1(self, path: str, mounted: str = "/") -> str:
        self.write(
            "/proc/self/cgroup",
            f"9:memory:{path}\n4:cpu,cpuacct:{path}\n1:name=systemd:/init\n0::/\n",
        )
        self.write(
            "/proc/self/mountinfo",
            f"31 23 0:28 {mounted} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
            f"32 23 0:29 {mounted} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
            "33 23 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        )
        return "/sys/fs/cgroup"

    def group(self) -> CgroupReading:
        return CgroupReader(HostFiles(str(self.root))).read()

    def system(self, psutil: Any = None) -> SystemReading:
        return SystemReader(HostFiles(str(self.root)), PsutilSource(lambda: psutil)).read()


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


def test_a_v2_group_limits_memory_swap_and_processors(machine: FakeMachine) -> None:
    """Inside a container the group is the mount itself, and its files are read."""
    at = machine.v2("/")
    machine.write(f"{at}/memory.max", str(2 * GIB))
    machine.write(f"{at}/memory.current", str(GIB))
    machine.write(f"{at}/memory.swap.max", str(GIB // 2))
    machine.write(f"{at}/memory.swap.current", "4096")
    machine.write(
        f"{at}/memory.stat",
        f"anon 5\nfile {GIB // 4}\ninactive_file {GIB // 8}\npgfault 900\npgmajfault 3\n",
    )
    machine.write(f"{at}/memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\n")
    machine.write(f"{at}/cpu.max", "150000 100000\n")
    machine.write(
        f"{at}/cpu.stat",
        "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 50\n"
        "nr_throttled 5\nthrottled_usec 250000\n",
    )
    read = machine.system()
    assert read.memory_source == "cgroup v2"
    assert read.memory_limit == 2 * GIB
    assert read.memory == {"used": GIB * 3 // 4, "cached": GIB // 4, "free": GIB}
    assert sum(read.memory.values()) == read.memory_limit
    assert read.memory_working_set == GIB - GIB // 8
    assert read.swap == {"used": 4096, "free": GIB // 2 - 4096}
    assert read.faults == {"minor": 897, "major": 3}
    assert read.cpu_source == "cgroup"
    assert read.cpu == {"user": 2.0, "system": 1.0}
    assert read.cpu_count == read.cpus_available == 1.5
    assert (read.throttled_seconds, read.throttled_periods, read.oom_kills) == (0.25, 5, 1)


def test_the_smallest_limit_above_the_group_counts(machine: FakeMachine) -> None:
    """A group without a limit of its own is bound by its parent's, with the parent's use."""
    at = machine.v2("/team/service")
    machine.write(f"{at}/team/service/memory.max", "max")
    machine.write(f"{at}/team/service/memory.current", "1000")
    machine.write(f"{at}/team/memory.max", str(GIB))
    machine.write(f"{at}/team/memory.current", "5000")
    machine.write(f"{at}/team/service/cpu.max", "max 100000")
    machine.write(f"{at}/team/cpu.max", "50000 100000")
    read = machine.group()
    assert (read.memory_limit, read.memory_used, read.cpu_limit) == (GIB, 5000, 0.5)


def test_a_v2_group_without_limits_describes_the_machine(machine: FakeMachine) -> None:
    """Nothing is limited, so the figures are the machine's and add up to its memory."""
    at = machine.v2("/user.slice")
    machine.write(f"{at}/user.slice/memory.max", "max")
    machine.write(f"{at}/user.slice/memory.current", "1000")
    read = machine.system()
    assert read.memory_source == "machine"
    assert read.memory_limit == 16 * GIB
    assert read.memory == {"used": 7 * GIB, "free": 4 * GIB, "buffers": GIB, "cached": 4 * GIB}
    assert read.memory_working_set == 8 * GIB
    assert read.swap == {"used": GIB, "free": GIB}
    assert read.swapping == {"in": 3, "out": 4}
    assert read.faults == {"minor": 990, "major": 10}


def test_a_limit_above_the_machines_memory_limits_nothing(machine: FakeMachine) -> None:
    """A group allowed more than there is has what there is."""
    at = machine.v2("/big")
    machine.write(f"{at}/big/memory.max", str(64 * GIB))
    machine.write(f"{at}/big/memory.current", "1000")
    assert machine.system().memory_source == "machine"


def test_a_v1_group_limits_memory_and_processors(machine: FakeMachine) -> None:
    """The older files tell the same, with memory and swap limited together."""
    at = machine.v1("/docker/abc", mounted="/docker/abc")
    machine.write(f"{at}/memory/memory.limit_in_bytes", str(GIB))
    machine.write(f"{at}/memory/memory.usage_in_bytes", str(GIB // 2))
    machine.write(f"{at}/memory/memory.memsw.limit_in_bytes", str(GIB + 1000))
    machine.write(f"{at}/memory/memory.memsw.usage_in_bytes", str(GIB // 2 + 10))
    machine.write(
        f"{at}/memory/memory.stat",
        f"cache 1\ntotal_cache {GIB // 4}\ntotal_inactive_file {GIB // 8}\n"
        "total_pgfault 50\ntotal_pgmajfault 5\n",
    )
    machine.write(
        f"{at}/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"
    )
    machine.write(f"{at}/cpu,cpuacct/cpu.cfs_quota_us", "25000")
    machine.write(f"{at}/cpu,cpuacct/cpu.cfs_period_us", "100000")
    machine.write(f"{at}/cpu,cpuacct/cpu.stat", "nr_throttled 4\nthrottled_time 2000000000\n")
    machine.write(f"{at}/cpu,cpuacct/cpuacct.usage_user", "3000000000")
    machine.write(f"{at}/cpu,cpuacct/cpuacct.usage_sys", "1000000000")
    read = machine.system()
    assert read.memory_source == "cgroup v1"
    assert read.memory == {"used": GIB // 4, "cached": GIB // 4, "free": GIB // 2}
    assert read.swap == {"used": 10, "free": 990}
    assert read.faults == {"minor": 45, "major": 5}
    assert read.oom_kills == 2
    assert read.cpu == {"user": 3.0, "system": 1.0}
    assert (read.cpu_count, read.throttled_seconds) == (0.25, 2.0)


def test_v1s_largest_number_is_no_limit(machine: FakeMachine) -> None:
    """The number that v1 writes for "no limit" is not taken for one; nor is a quota of -1."""
    at = machine.v1("/")
    machine.write(f"{at}/memory/memory.limit_in_bytes", UNLIMITED_V1)
    machine.write(f"{at}/memory/memory.usage_in_bytes", "1000")
    machine.write(f"{at}/cpu,cpuacct/cpu.cfs_quota_us", "-1")
    machine.write(f"{at}/cpu,cpuacct/cpu.cfs_period_us", "100000")
    read = machine.group()
    assert (read.memory_version, read.memory_limit, read.cpu_limit) == ("v1", None, None)
    assert machine.system().memory_source == "machine"


def test_a_group_outside_of_the_namespace_falls_back_to_the_mount(machine: FakeMachine) -> None:
    """A path of `/../..` does not lead out of the mount."""
    at = machine.v2("/../../other")
    machine.write(f"{at}/memory.max", "1000000")
    machine.write(f"{at}/memory.current", "1000")
    assert machine.group().memory_limit == 1_000_000


def test_a_mount_point_with_a_space_is_found(machine: FakeMachine) -> None:
    """A space in the path is written as an octal escape."""
    machine.write("/proc/self/cgroup", "0::/a\n")
    machine.write(
        "/proc/self/mountinfo", "30 23 0:26 / /sys/fs/c\\040group rw - cgroup2 cgroup2 rw\n"
    )
    machine.write("/sys/fs/c group/a/memory.max", "777")
    machine.write("/sys/fs/c group/a/memory.current", "7")
    assert machine.group().memory_limit == 777


def test_a_group_that_moves_is_followed(machine: FakeMachine) -> None:
    """Where the group lies is looked up at each reading."""
    reader = CgroupReader(HostFiles(str(machine.root)))
    for name, limit in (("one", 1000), ("two", 2000)):
        at = machine.v2(f"/{name}")
        machine.write(f"{at}/{name}/memory.max", str(limit))
        machine.write(f"{at}/{name}/memory.current", "1")
        assert reader.read().memory_limit == limit


def test_without_groups_and_files_there_are_no_figures(tmp_path: Path) -> None:
    """No /proc, no psutil: every figure is absent, and nothing raises."""
    read = SystemReader(HostFiles(str(tmp_path)), PsutilSource(lambda: None)).read()
    assert (read.memory_source, read.memory_limit, read.cpu_source) == (None, None, None)
    assert (read.memory, read.swap, read.faults, read.cpu) == ({}, {}, {}, {})


def test_psutil_tells_where_proc_does_not(tmp_path: Path) -> None:
    """The total and available memory, its swap and processor times of psutil are taken."""
    psutil = SimpleNamespace(
        virtual_memory=lambda: SimpleNamespace(total=100, available=60),
        swap_memory=lambda: SimpleNamespace(total=50, free=20),
        cpu_times=lambda: SimpleNamespace(user=1.0, system=2, idle=3.0, guest=9.0),
    )
    read = SystemReader(HostFiles(str(tmp_path)), PsutilSource(lambda: psutil)).read()
    assert read.memory == {"used": 40, "free": 60}
    assert read.swap == {"used": 30, "free": 20}
    assert read.cpu == {"user": 1.0, "system": 2.0, "idle": 3.0}


def test_processor_time_of_the_machine_by_mode(machine: FakeMachine) -> None:
    """Both kinds of interrupts are one mode, and guest time is not counted twice."""
    import os

    ticks = os.sysconf("SC_CLK_TCK")
    assert machine.system().cpu == {
        "user": 100 / ticks,
        "nice": 20 / ticks,
        "system": 30 / ticks,
        "idle": 4000 / ticks,
        "iowait": 50 / ticks,
        "interrupt": 6 / ticks + 7 / ticks,
        "steal": 8 / ticks,
    }


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=100))
def test_files_of_any_content_raise_nothing(
    tmp_path_factory: pytest.TempPathFactory, groups: str, mounts: str, limit: str
) -> None:
    """Whatever the kernel's files say, reading them gives figures or none."""
    machine = FakeMachine(tmp_path_factory.mktemp("any"))
    at = machine.v2("/x")
    machine.write(f"{at}/x/memory.current", "10")
    for name in ("memory.max", "cpu.max", "memory.stat", "memory.swap.max"):
        machine.write(f"{at}/x/{name}", limit.encode("utf-8", "replace").decode())
    machine.system()
    machine.write("/proc/self/cgroup", groups.encode("utf-8", "replace").decode())
    machine.write("/proc/self/mountinfo", mounts.encode("utf-8", "replace").decode())
    machine.write("/proc/stat", limit.encode("utf-8", "replace").decode())
    machine.write("/proc/meminfo", groups.encode("utf-8", "replace").decode())
    machine.system()
