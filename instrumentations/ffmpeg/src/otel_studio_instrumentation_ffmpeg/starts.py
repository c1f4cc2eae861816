"""What is added to a start of ffmpeg so that it tells of itself, where nobody can notice."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .command import Command, parse_command
from .program import is_ffmpeg_itself, is_named_ffmpeg, may_be_ffmpeg

#: ffmpeg's `info`: streams and errors, no debugging.
_LOG_LEVEL = 32

_HAS_EXTRA_DESCRIPTORS = os.name == "posix"

#: What may run in the child before ffmpeg does: it neither closes descriptors nor changes files.
_HARMLESS = tuple(getattr(os, name) for name in ("setsid", "setpgrp") if hasattr(os, name))


@dataclasses.dataclass(slots=True)
class Start:
    """One start of ffmpeg.

    Attributes:
        command: what the command line says.
        call: the arguments to call `Popen` with.
        arguments: the command line as the caller gave it.
        progress_fd: our end of the progress pipe.
        log_fd: our end of the log pipe.
        write_fds: the child's ends, to be closed once it has started.
    """

    command: Command
    call: dict[str, Any]
    arguments: Any
    progress_fd: int | None = None
    log_fd: int | None = None
    write_fds: list[int] = dataclasses.field(default_factory=list)

    def close_write_ends(self) -> None:
        """Close what belongs to the child."""
        while self.write_fds:
            os.close(self.write_fds.pop())

    def close(self) -> None:
        """Close every descriptor of a start that came to nothing."""
        self.close_write_ends()
        for fd in (self.progress_fd, self.log_fd):
            if fd is not None:
                os.close(fd)
        self.progress_fd = self.log_fd = None


def may_be_start(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Tell most other programs apart at once, before anything is bound or copied.

    Args:
        args: of the call of `Popen`.
        kwargs: of the same.
    """
    arguments = _as_list(kwargs["args"] if "args" in kwargs else args[0] if args else None)
    if arguments is None:
        return False
    return may_be_ffmpeg(
        kwargs.get("executable") or (args[2] if len(args) > 2 else None) or arguments[0]
    )


def plan_start(call: dict[str, Any]) -> Start | None:
    """Return what to start in place of a call, `None` where it is no job of ffmpeg's.

    Args:
        call: the arguments of `Popen`, by name.
    """
    arguments = None if call.get("shell") else _as_list(call["args"])
    if arguments is None:
        return None
    program = call.get("executable") or arguments[0]
    is_itself = is_ffmpeg_itself(program, call)
    if not is_itself and not is_named_ffmpeg(program):
        return None
    command = parse_command([os.fsdecode(argument) for argument in arguments])
    if command is None:
        return None
    start = Start(command, call, call["args"])
    if is_itself and _keeps_descriptors(call) and not _has_report(command, call):
        try:
            _add_descriptors(start, arguments)
        except BaseException:
            start.close()
            raise
    return start


def _as_list(arguments: Any) -> list[Any] | None:
    if isinstance(arguments, (str, bytes, os.PathLike)):
        return [arguments]
    if isinstance(arguments, Sequence) and arguments:
        return list(arguments)
    return None


def _keeps_descriptors(call: Mapping[str, Any]) -> bool:
    if not _HAS_EXTRA_DESCRIPTORS or not call.get("close_fds", True):
        return False
    before = call.get("preexec_fn")
    return before is None or before in _HARMLESS


def _has_report(command: Command, call: Mapping[str, Any]) -> bool:
    """Return whether the caller has a report written, which would show what is added."""
    environment = call["env"] if call.get("env") is not None else os.environ
    return command.has_report or any(os.fsdecode(name) == "FFREPORT" for name in environment)


def _add_descriptors(start: Start, arguments: list[Any]) -> None:
    command, call = start.command, start.call
    is_unseen = call.get("stderr") == subprocess.DEVNULL
    changed = dict(call)
    if not command.has_progress and (is_unseen or not command.talkative):
        start.progress_fd, write = _pipe()
        start.write_fds.append(write)
        changed["args"] = [arguments[0], "-progress", f"pipe:{write}", *arguments[1:]]
    if (is_unseen or command.quiet) and _may_open_again(call):
        # Elsewhere ffmpeg announces the report in three informational lines on a visible stderr.
        start.log_fd, write = _pipe()
        start.write_fds.append(write)
        environment = call["env"] if call.get("env") is not None else os.environ
        report = f"file=/dev/fd/{write}:level={_LOG_LEVEL}"
        changed["env"] = {**environment, "FFREPORT": report}
    changed["pass_fds"] = (*call.get("pass_fds", ()), *start.write_fds)
    start.call = changed


def _may_open_again(call: Mapping[str, Any]) -> bool:
    """Return whether the child may open a pipe of ours by its name; another user may not."""
    changed = any(call.get(name) is not None for name in ("user", "group"))
    return not changed and Path("/dev/fd").is_dir()


def _pipe() -> tuple[int, int]:
    """Return the ends of a pipe, above the three numbers that are a child's own streams.

    A program without a stdin or stdout, such as a daemon, gets these numbers for what it opens.
    """
    import fcntl  # not on Windows, where nothing is added

    ends = list(os.pipe())
    for place, fd in enumerate(ends):
        if fd < 3:
            ends[place] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
            os.close(fd)
    return ends[0], ends[1]
