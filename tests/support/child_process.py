"""A server in a process of its own: started, waited for, stopped, its output kept."""

from __future__ import annotations

import http.client
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

from parts import wait_until


class ChildProcess:
    """Base of the servers that tests start; a subclass says how to start and when it is ready.

    Args:
        folder: an empty folder of the test's own, for configuration, data and the log.
        name: names the log file and the failure messages.
    """

    #: Seconds that a server may take to be ready, on a busy machine.
    start_timeout = 30.0

    #: Starts tried with new ports when another program took one in between.
    _MAX_STARTS = 3

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.log_file = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> Sequence[str | Path]:
        """Return the command line, having written the configuration for the ports of now."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Return the variables to set for the process beside those of the test's own."""
        return {}

    def is_ready(self) -> bool:
        """Return whether the server answers."""
        raise NotImplementedError

    def choose_ports(self) -> None:
        """Take free ports; called again when one of them turns out to be taken."""

    @property
    def pid(self) -> int:
        """The running process's id."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running: call start() first")
        return self._process.pid

    def log(self) -> str:
        """Return what the server wrote to its standard output and error so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def start(self) -> None:
        """Start the server on the ports it has, and return once it is ready."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [str(word) for word in self.command()],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment()},
                cwd=self.folder,
            )
        try:
            wait_until(self._is_ready_or_gone, self.start_timeout, f"{self.name} to be ready")
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.log()[-4000:]}") from None
        if self._process.poll() is not None:
            raise AssertionError(
                f"{self.name} ended with {self._process.returncode} instead of starting:\n"
                f"{self.log()[-4000:]}"
            )

    def stop(self, timeout: float = 10.0) -> None:
        """Ask the server to end, wait, and kill it when it does not.

        Args:
            timeout: seconds it has to end by itself.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End the server at once, as a crash would: nothing is flushed."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _is_ready_or_gone(self) -> bool:
        return self._process is None or self._process.poll() is not None or self.is_ready()

    def __enter__(self) -> Self:
        for attempt in range(1, self._MAX_STARTS + 1):
            self.choose_ports()
            try:
                self.start()
            except AssertionError:
                self.stop()
                if attempt == self._MAX_STARTS or "in use" not in self.log().lower():
                    raise
                self.log_file.unlink()
            else:
                break
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def http_get(
    port: int,
    path: str,
    query: Mapping[str, str | float] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 10.0,
) -> tuple[int, str]:
    """Fetch from 127.0.0.1, past any proxy that the machine has set.

    Args:
        port: the server's port.
        path: with its leading slash.
        query: what follows the `?`, unquoted.
        headers: request headers.
        timeout: seconds.

    Returns:
        The status and the body.

    Raises:
        OSError: if nothing answers.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        target = f"{path}?{urlencode(query)}" if query else path
        connection.request("GET", target, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def answers(port: int, path: str) -> bool:
    """Return whether 127.0.0.1 answers a GET of this path with 200."""
    try:
        return http_get(port, path, timeout=2.0)[0] == 200
    except (OSError, http.client.HTTPException):
        return False
