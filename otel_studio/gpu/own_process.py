"""Which entry of the driver's process lists is this process, in a container too."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection

#: The inode of the machine's first process-id namespace: PROC_PID_INIT_INO of the Linux kernel.
_FIRST_NAMESPACE = 0xEFFFFFFC

UNKNOWN_IN_CONTAINER = (
    "the driver lists processes by the ids of the host, and this process runs in a container: "
    "its own share cannot be told"
)


class OwnProcess:
    """The calling process, as the driver may know it.

    Outside a container the driver's ids are ours. Inside one, older drivers give the host's ids
    and newer ones translate; ours is believed only where every listed process can be seen from
    here, which the host's ids cannot.

    Args:
        pid: this process's id.
        sees_host_ids: whether process ids mean here what they mean to the driver.
        proc: where the process file system is.
    """

    def __init__(
        self,
        pid: int | None = None,
        sees_host_ids: bool | None = None,
        proc: str = "/proc",
    ) -> None:
        self.pid = os.getpid() if pid is None else pid
        self.sees_host_ids = _sees_host_ids(proc) if sees_host_ids is None else sees_host_ids
        self._proc = proc

    def numbers_as_driver(self, listed: Collection[int]) -> bool:
        """Return whether an id means here what it means to the driver.

        Args:
            listed: the ids that the driver lists.
        """
        return self.sees_host_ids or all(self._is_visible(pid) for pid in listed)

    def is_among(self, listed: Collection[int]) -> bool | None:
        """Return whether this process is one of those listed, or `None` where that is unknown.

        Args:
            listed: the ids of all processes that the driver lists on a device.
        """
        if self.sees_host_ids:
            return self.pid in listed
        if self.pid in listed and self.numbers_as_driver(listed):
            return True
        return None

    def _is_visible(self, pid: int) -> bool:
        return pid > 0 and os.path.exists(f"{self._proc}/{pid}")


def _sees_host_ids(proc: str) -> bool:
    if not sys.platform.startswith("linux"):
        return True
    try:
        return os.stat(f"{proc}/self/ns/pid").st_ino == _FIRST_NAMESPACE
    except OSError:
        return False
