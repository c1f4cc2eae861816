"""Who stopped a child: what this program sends is a cancel, what comes from elsewhere a failure."""

from __future__ import annotations

import asyncio
import inspect
import os
import pickle
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import otel_studio_instrumentation_ffmpeg as followed
import pytest

from parts import wait_until

Child = subprocess.Popen[bytes]


def endless(ffmpeg: Any, name: str = "a.mp4") -> list[str]:
    """Return a command that encodes for an hour."""
    command: list[str] = ffmpeg.encode(name, frames=100_000, options=("-v", "error", "-re"))
    return command


def with_patience(child: Child) -> None:
    """Ask first, then insist, by the process id alone."""
    os.kill(child.pid, signal.SIGTERM)
    try:
        child.wait(0.01)
    except subprocess.TimeoutExpired:
        os.kill(child.pid, signal.SIGKILL)


def by_descriptor(child: Child) -> None:
    """Send it to the process's descriptor."""
    descriptor = os.pidfd_open(child.pid)
    signal.pidfd_send_signal(descriptor, signal.SIGINT)
    os.close(descriptor)


def by_key(child: Child) -> None:
    """Press ffmpeg's own key."""
    assert child.stdin is not None
    child.stdin.write(b"q")
    child.stdin.close()


WAYS: dict[str, Callable[[Child], None]] = {
    "terminate": lambda child: child.terminate(),
    "kill": lambda child: child.kill(),
    "send_signal": lambda child: child.send_signal(signal.SIGINT),
    "os.kill": lambda child: os.kill(child.pid, signal.SIGKILL),
    "os.kill of a signal that ends it": lambda child: os.kill(child.pid, signal.SIGUSR1),
    "killpg": lambda child: os.killpg(child.pid, signal.SIGTERM),
    "os.kill of a group": lambda child: os.kill(-child.pid, signal.SIGKILL),
    "patience": with_patience,
    "pidfd": by_descriptor,
    "q": by_key,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_child_that_the_program_stops_is_cancelled(
    ffmpeg: Any, way: Callable[[Child], None]
) -> None:
    """By whichever function the program stops it, the encode was cancelled and did not fail."""
    with subprocess.Popen(endless(ffmpeg), stdin=subprocess.PIPE, start_new_session=True) as child:
        wait_until(lambda: followed.sessions()[0].frames)
        way(child)
    (session,) = followed.sessions()
    assert (session.state, session.exit_code) == ("cancelled", child.returncode)
    assert followed.statistics().failed_encodes == 0
    assert ffmpeg.spans()[0].attributes["studio.outcome"] == "cancelled"


def test_a_signal_to_all_of_a_group_reaches_its_children_alone(ffmpeg: Any) -> None:
    """Children in the group are cancelled, one in a group of its own goes on."""
    first = subprocess.Popen(endless(ffmpeg, "a.mp4"), start_new_session=True)
    second = subprocess.Popen(endless(ffmpeg, "b.mp4"), start_new_session=True)
    os.killpg(first.pid, signal.SIGTERM)
    first.wait()
    subprocess.run(["kill", "-KILL", str(second.pid)], check=True)
    second.wait()
    assert [each.state for each in followed.sessions()] == ["error", "cancelled"]


@pytest.mark.parametrize("stop", ["kill", "terminate", "close"])
async def test_a_transport_that_stops_its_child_cancels_it(ffmpeg: Any, stop: str) -> None:
    """Asyncio's transports, which programs use without its `Process`, are seen too."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    class Waiting(asyncio.SubprocessProtocol):
        def process_exited(self) -> None:
            ended.set_result(None)

    transport, _ = await loop.subprocess_exec(Waiting, *endless(ffmpeg), stdin=None, stderr=None)
    getattr(transport, stop)()
    await ended
    transport.close()
    wait_until(lambda: followed.sessions()[0].state == "cancelled")


async def test_a_child_that_its_task_kills_is_cancelled(ffmpeg: Any) -> None:
    """`Process.send_signal` of asyncio is the program's own."""
    child = await asyncio.create_subprocess_exec(*endless(ffmpeg))
    child.send_signal(signal.SIGTERM)
    await child.wait()
    assert followed.sessions()[0].state == "cancelled"


def test_a_stopped_launcher_is_cancelled(ffmpeg: Any) -> None:
    """What stands for ffmpeg is stopped as ffmpeg is."""
    program = ffmpeg.folder / "ffmpeg"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    with subprocess.Popen([program, "-i", "a.mov", "b.mp4"]) as child:
        os.kill(child.pid, signal.SIGTERM)
    assert followed.sessions()[0].state == "cancelled"


def test_a_child_that_something_else_kills_has_failed(ffmpeg: Any) -> None:
    """As the system does when memory runs out; asking whether it lives is no stop."""
    with subprocess.Popen(endless(ffmpeg)) as child:
        os.kill(child.pid, 0)
        os.kill(child.pid, signal.SIGCONT)
        subprocess.run(["kill", "-KILL", str(child.pid)], check=True)
    (session,) = followed.sessions()
    assert (session.state, session.exit_code) == ("error", -signal.SIGKILL)
    assert ffmpeg.spans()[0].attributes["error.type"] == "SIGKILL"


def test_a_child_that_failed_before_it_was_stopped_has_failed(ffmpeg: Any) -> None:
    """A signal to what has ended already, and is not waited for, changes nothing."""
    command = [ffmpeg.program, "-v", "error", "-i", str(ffmpeg.folder / "none.mov"), "o.mp4"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
        wait_until(lambda: ") Z " in Path(f"/proc/{child.pid}/stat").read_text())
        os.kill(child.pid, signal.SIGTERM)
    (session,) = followed.sessions()
    assert (session.state, session.exit_code) == ("error", 1)


def test_a_signal_that_cannot_be_sent_is_none(ffmpeg: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system refuses, the same exception comes, and the child counts as not stopped."""
    followed.FFmpegInstrumentor().uninstrument()

    def refuse(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refuse)
    ffmpeg.instrument()
    with subprocess.Popen(endless(ffmpeg)) as child:
        with pytest.raises(PermissionError):
            os.kill(child.pid, signal.SIGKILL)
        subprocess.run(["kill", "-KILL", str(child.pid)], check=True)
    followed.FFmpegInstrumentor().uninstrument()
    assert os.kill is refuse
    assert followed.sessions()[0].state == "error"
    monkeypatch.undo()
    ffmpeg.instrument()


def test_the_patched_functions_are_what_they_stand_for(ffmpeg: Any) -> None:
    """They have the same signature and errors, can be pickled, and leave when they are undone."""
    assert str(inspect.signature(os.kill)) == "(pid, signal, /)"
    assert pickle.loads(pickle.dumps(os.kill)) is os.kill
    for wrong in ((), ("a", 1), (os.getpid(), 10_000)):
        with pytest.raises((TypeError, OSError)) as raised:
            os.kill(*wrong)
        with pytest.raises(type(raised.value)) as plain:
            inspect.unwrap(os.kill)(*wrong)
        assert str(raised.value) == str(plain.value)
    shipped = pickle.dumps(os.killpg)
    followed.FFmpegInstrumentor().uninstrument()
    assert pickle.loads(shipped) is os.killpg
    assert inspect.isbuiltin(os.kill)
    ffmpeg.instrument()


def test_somebody_elses_patch_stays(ffmpeg: Any) -> None:
    """What was put around ours is not thrown away with it, and goes on working."""
    ours = os.kill

    def theirs(pid: int, number: int) -> None:
        ours(pid, number)

    try:
        os.kill = theirs
        followed.FFmpegInstrumentor().uninstrument()
        assert os.kill is theirs
        os.kill(os.getpid(), 0)
    finally:
        os.kill = inspect.unwrap(ours)
        ffmpeg.instrument()
