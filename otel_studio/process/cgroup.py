"""What the control group of the calling process limits and uses: cgroup v2, v1 and mixtures."""

from __future__ import annotations

import dataclasses
import posixpath
import re
from typing import Any

from otel_studio.process.host_files import HostFiles

#: v1 says "no limit" with the largest page-aligned number; nothing real comes near this.
_UNLIMITED = 1 << 60
_MAX_DEPTH = 64


@dataclasses.dataclass(frozen=True, slots=True)
class CgroupReading:
    """One reading of the control group; bytes and seconds, `None` where there is no source."""

    #: "v1" or "v2" for the controller that accounts memory, `None` without one.
    memory_version: str | None = None
    memory_limit: int | None = None
    memory_used: int | None = None
    #: Of what is used, the page cache.
    memory_cached: int | None = None
    #: Of the page cache, what the kernel takes back first under pressure.
    memory_reclaimable: int | None = None
    swap_limit: int | None = None
    swap_used: int | None = None
    faults: int | None = None
    major_faults: int | None = None
    #: Processors' worth of time allowed, such as 1.5.
    cpu_limit: float | None = None
    cpu_user: float | None = None
    cpu_system: float | None = None
    throttled_seconds: float | None = None
    throttled_periods: int | None = None
    oom_kills: int | None = None


class CgroupReader:
    """Reads the limits that hold for the calling process.

    A limit of any group above counts, so every level up to the mount is read and the
    smallest limit wins. Where the group lies is looked up at each reading: a process may
    be moved, and a forked child may be elsewhere than its parent.

    Args:
        files: where `/proc` and `/sys` are.

    Source: the kernel's documents admin-guide/cgroup-v2 and cgroup-v1.
    """

    def __init__(self, files: HostFiles) -> None:
        self._files = files

    def read(self) -> CgroupReading:
        """Return the limits and figures as they are now."""
        folders = self._folders()
        return dataclasses.replace(self._memory(folders), **self._processor(folders))

    def _memory(self, folders: dict[str, list[str]]) -> CgroupReading:
        v1 = folders.get("memory", [])
        if v1:
            return self._memory_v1(v1)
        number = self._files.number
        v2 = [f for f in folders.get("", []) if number(f + "/memory.current") is not None]
        return self._memory_v2(v2) if v2 else CgroupReading()

    def _memory_v2(self, folders: list[str]) -> CgroupReading:
        number, table = self._files.number, self._files.table
        limit, folder = self._smallest(folders, "memory.max")
        swap_limit, _ = self._smallest(folders, "memory.swap.max")
        stat = table(folder + "/memory.stat")
        return CgroupReading(
            memory_version="v2",
            memory_limit=limit,
            memory_used=number(folder + "/memory.current"),
            memory_cached=stat.get("file"),
            memory_reclaimable=stat.get("inactive_file"),
            swap_limit=swap_limit,
            swap_used=number(folder + "/memory.swap.current"),
            faults=stat.get("pgfault"),
            major_faults=stat.get("pgmajfault"),
            oom_kills=table(folder + "/memory.events").get("oom_kill"),
        )

    def _memory_v1(self, folders: list[str]) -> CgroupReading:
        number, table = self._files.number, self._files.table
        limit, folder = self._smallest(folders, "memory.limit_in_bytes")
        both_limit, _ = self._smallest(folders, "memory.memsw.limit_in_bytes")
        used = number(folder + "/memory.usage_in_bytes")
        both_used = number(folder + "/memory.memsw.usage_in_bytes")
        stat = table(folder + "/memory.stat")
        return CgroupReading(
            memory_version="v1",
            memory_limit=limit,
            memory_used=used,
            memory_cached=stat.get("total_cache", stat.get("cache")),
            memory_reclaimable=stat.get("total_inactive_file", stat.get("inactive_file")),
            # v1 limits memory and swap together
            swap_limit=None if both_limit is None or limit is None else max(both_limit - limit, 0),
            swap_used=None if both_used is None or used is None else max(both_used - used, 0),
            faults=stat.get("total_pgfault", stat.get("pgfault")),
            major_faults=stat.get("total_pgmajfault", stat.get("pgmajfault")),
            oom_kills=table(folder + "/memory.oom_control").get("oom_kill"),
        )

    def _smallest(self, folders: list[str], name: str) -> tuple[int | None, str]:
        """Return the smallest limit and the folder that sets it, or the process's own folder."""
        found: tuple[int | None, str] = (None, folders[0])
        for folder in folders:
            limit = self._files.number(f"{folder}/{name}")  # "max" is no number
            if limit is not None and limit < _UNLIMITED and (found[0] is None or limit < found[0]):
                found = (limit, folder)
        return found

    def _processor(self, folders: dict[str, list[str]]) -> dict[str, Any]:
        number, table = self._files.number, self._files.table
        v1 = folders.get("cpu", [])
        limits: list[tuple[float, str]] = []
        for folder in v1 or folders.get("", []):
            if v1:
                quota = number(folder + "/cpu.cfs_quota_us")
                period = number(folder + "/cpu.cfs_period_us")
            else:
                quota, period = _pair(self._files.text(folder + "/cpu.max"))
            if quota is not None and quota > 0 and period:
                limits.append((quota / period, folder))
        if not limits:
            return {}
        limit, folder = min(limits)
        stat = table(folder + "/cpu.stat")
        figures: dict[str, Any] = {
            "cpu_limit": limit,
            "throttled_periods": stat.get("nr_throttled"),
        }
        if v1:
            account = folder.replace(v1[-1], folders.get("cpuacct", v1)[-1], 1)
            figures["throttled_seconds"] = _scaled(stat.get("throttled_time"), 1e-9)
            figures["cpu_user"] = _scaled(number(account + "/cpuacct.usage_user"), 1e-9)
            figures["cpu_system"] = _scaled(number(account + "/cpuacct.usage_sys"), 1e-9)
        else:
            figures["throttled_seconds"] = _scaled(stat.get("throttled_usec"), 1e-6)
            figures["cpu_user"] = _scaled(stat.get("user_usec"), 1e-6)
            figures["cpu_system"] = _scaled(stat.get("system_usec"), 1e-6)
        return figures

    def _folders(self) -> dict[str, list[str]]:
        """Return, by controller ("" for v2), the group's folder and those above it to the mount."""
        mounts = self._mounts()
        folders: dict[str, list[str]] = {}
        for line in (self._files.text("/proc/self/cgroup") or "").splitlines():
            parts = line.split(":", 2)
            if len(parts) != 3:
                continue
            for controller in parts[1].split(","):
                if controller in mounts:
                    root, point = mounts[controller]
                    folders[controller] = _chain(point, _below(parts[2], root))
        return folders

    def _mounts(self) -> dict[str, tuple[str, str]]:
        """Return, by controller, which folder of the hierarchy is mounted and where."""
        mounts: dict[str, tuple[str, str]] = {}
        for line in (self._files.text("/proc/self/mountinfo") or "").splitlines():
            before, _, after = line.partition(" - ")
            fields, kind = before.split(), after.split()
            if len(fields) < 5 or not kind or kind[0] not in ("cgroup", "cgroup2"):
                continue
            where = (_unescaped(fields[3]), _unescaped(fields[4]))
            if kind[0] == "cgroup2":
                mounts.setdefault("", where)
            else:
                for option in kind[-1].split(","):
                    mounts.setdefault(option, where)
        return mounts


def _below(path: str, mounted: str) -> str:
    """Return a group's path below what is mounted; outside of it, the mounted folder itself."""
    if mounted == "/":
        # inside a cgroup namespace a group outside of it shows as "/../.."
        return "" if path.startswith("/..") else path.strip("/")
    if path == mounted or path.startswith(mounted + "/"):
        return path[len(mounted) :].strip("/")
    return ""


def _chain(point: str, below: str) -> list[str]:
    folders = [posixpath.join(point, below) if below else point]
    while folders[-1] != point and len(folders) < _MAX_DEPTH:
        folders.append(posixpath.dirname(folders[-1]))
    return folders


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def _pair(text: str | None) -> tuple[int | None, int | None]:
    words = (text or "").split()
    if len(words) != 2 or not all(word.isdecimal() for word in words):  # "max 100000" is no limit
        return None, None
    return int(words[0]), int(words[1])


def _scaled(value: int | None, factor: float) -> float | None:
    return None if value is None else value * factor
