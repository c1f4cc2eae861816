"""The helpers that tests share do what they say, above all when a part is missing."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from child_process import ChildProcess, answers
from parts import free_port, need, wait_until
from redis_server import RedisServer


def test_a_missing_part_skips_on_a_laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CI=true a missing part skips the test, with how to get it as the reason."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program is missing: install"):
        need("no-such-program")


def test_a_missing_part_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """With CI=true nothing is skipped."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="CI=true: nothing is skipped"):
        need("no-such-program")


def test_a_part_beside_this_python_comes_first() -> None:
    """Programs of the virtual environment are found without its folder on PATH."""
    assert os.access(need("pytest"), os.X_OK)


def test_free_ports_are_distinct_and_free() -> None:
    """Each call gives another port, and it can be bound."""
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", ports[0]))


def test_waiting_returns_the_answer_and_gives_up_in_time() -> None:
    """The first truthy answer is returned; past the time the last answer is in the message."""
    replies = iter([0, "", "here"])
    assert wait_until(lambda: next(replies)) == "here"
    with pytest.raises(AssertionError, match=r"waited 0\.0 s for godot; the last answer was None"):
        wait_until(lambda: None, timeout=0.0, what="godot")


class Failing(ChildProcess):
    """A server whose first `conflicts` starts meet a port in use."""

    def __init__(self, folder: Path, conflicts: int) -> None:
        super().__init__(folder, "failing")
        self.conflicts = conflicts
        self.starts = 0

    def command(self) -> Sequence[str | Path]:
        self.starts += 1
        if self.starts <= self.conflicts:
            return ["/bin/sh", "-c", "echo 'bind: address already in use' >&2; exit 3"]
        return ["/bin/sh", "-c", "echo up; exec sleep 60"]

    def is_ready(self) -> bool:
        return "up" in self.log()


def test_a_port_taken_in_between_is_tried_anew(tmp_path: Path) -> None:
    """Two starts on taken ports and a third that works are a start; three failures are none."""
    with Failing(tmp_path / "twice", 2) as server:
        assert server.starts == 3
    with pytest.raises(AssertionError, match="ended with 3 instead of starting"):
        Failing(tmp_path / "ever", 9).__enter__()


def test_a_stopped_server_is_gone(tmp_path: Path) -> None:
    """After the block the process has ended and its id is no longer given."""
    with Failing(tmp_path, 0) as server:
        os.kill(server.pid, 0)
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.pid


def test_redis_answers(tmp_path: Path) -> None:
    """The Redis server of the tests is up inside its block, and nothing answers after it."""
    with RedisServer(tmp_path) as server:
        assert server.is_ready()
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
    assert not server.is_ready()
    assert not answers(server.port, "/")
