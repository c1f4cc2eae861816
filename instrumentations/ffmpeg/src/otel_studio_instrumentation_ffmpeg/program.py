"""Tells whether the file that a start will run is ffmpeg itself, or somebody's launcher for it.

A launcher (a script, docker, snap, a compiled shim) need not pass descriptors or the environment
on, so nothing may be added to its start. The name proves nothing: what counts is the file that the
child will execute, and what is in it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NAME = re.compile(r"^ffmpeg(?:[-_.]?[nv]?\d+(?:\.\d+)*)?(?:\.exe)?$", re.IGNORECASE)
_BEGINNING = re.compile(r"^ffmpeg[\w.+-]*$", re.IGNORECASE)

#: How programs begin that the system runs by themselves: ELF, and Mach-O for one machine or more.
_COMPILED = (
    b"\x7fELF",
    b"\xfe\xed\xfa\xce",
    b"\xfe\xed\xfa\xcf",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
)

#: What ffmpeg's own help says of the option that is added, and the variable: both are in each
#: build of each version, and in no library that it shares with other programs.
_MARKS = (b"write program-readable progress information", b"FFREPORT")

#: Bytes read at a time, and the largest file that is looked through: static builds have 150 MB.
_CHUNK = 1 << 20
_LARGEST = 1 << 30

#: Answers kept, by what tells that a file is still the same.
_KEPT = 64
_known: dict[tuple[int, ...], bool] = {}


def may_be_ffmpeg(executable: Any) -> bool:
    """Return whether a program's name begins as ffmpeg's does; most others are told apart by it.

    Args:
        executable: text, bytes or path of the program.

    Example:
        >>> may_be_ffmpeg("/opt/bin/ffmpeg-linux64-v7.0"), may_be_ffmpeg("ffprobe")
        (True, False)
    """
    return _matches(_BEGINNING, executable)


def is_named_ffmpeg(executable: Any) -> bool:
    """Return whether a program is called as ffmpeg is, with or without a version.

    Args:
        executable: text, bytes or path of the program.

    Example:
        >>> [is_named_ffmpeg(name) for name in ("ffmpeg", "ffmpeg-7.1", "ffmpeg-normalize")]
        [True, True, False]
    """
    return _matches(_NAME, executable)


def is_ffmpeg_itself(executable: Any, call: Mapping[str, Any]) -> bool:
    """Return whether the child will surely execute ffmpeg's own binary.

    Args:
        executable: the program, as the caller names it.
        call: the other arguments of `Popen`.
    """
    path = executed_file(executable, call)
    if path is None:
        return False
    try:
        return _is_ffmpeg_binary(path)
    except OSError:  # such as a file that may be run and not read
        return False


def executed_file(executable: Any, call: Mapping[str, Any]) -> Path | None:
    """Return the file that the child will execute, `None` where that is not sure.

    Follows what `subprocess` does: a name without a folder is looked for in the `PATH` of the
    child's environment, and what is relative begins in the child's working directory.

    Args:
        executable: the program, as the caller names it.
        call: the other arguments of `Popen`: `cwd`, `env`, `user`, `group`, `extra_groups`.
    """
    name = os.fsdecode(executable)
    folders = [""] if os.sep in name else os.get_exec_path(call.get("env"))
    changes_user = any(call.get(key) is not None for key in ("user", "group", "extra_groups"))
    if changes_user and len(folders) > 1:  # which of several files another user may run is unknown
        return None
    cwd = os.fsdecode(call.get("cwd") or "")
    for folder in folders:
        path = Path(cwd, folder, name)
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError):
            return None
        return path if os.access(path, os.X_OK) else None
    return None


def _matches(pattern: re.Pattern[str], executable: Any) -> bool:
    try:
        name = Path(os.fsdecode(executable)).name
    except TypeError:
        return False
    return pattern.match(name) is not None


def _is_ffmpeg_binary(path: Path) -> bool:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
        return False
    key = (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
    known = _known.get(key)
    if known is None:
        known = _has_marks(path)
        if len(_known) >= _KEPT:
            _known.clear()
        _known[key] = known
    return known


def _has_marks(path: Path) -> bool:
    missing = set(_MARKS)
    longest = max(map(len, _MARKS))
    with path.open("rb", buffering=0) as file:
        data = file.read(_CHUNK)
        if not data.startswith(_COMPILED):
            return False
        while data:
            missing = {mark for mark in missing if mark not in data}
            if not missing:
                return True
            more = file.read(_CHUNK)
            data = data[-longest:] + more if more else b""
    return False
