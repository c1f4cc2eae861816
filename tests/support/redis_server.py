"""A real Redis server for tests, empty and without persistence."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from child_process import ChildProcess
from parts import free_port, need


class RedisServer(ChildProcess):
    """A Redis server on a port of its own; a context manager.

    Args:
        folder: an empty folder of the test's own (`tmp_path / "redis"`).
        options: further words for the command line, such as `"--maxmemory", "2mb"`.

    Example:
        >>> with RedisServer(tmp_path) as server:  # doctest: +SKIP
        ...     client = redis.Redis.from_url(server.url)
    """

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder, "redis")
        self._program = need("redis-server")
        self._options = options
        self.choose_ports()

    def choose_ports(self) -> None:
        """Take a free port."""
        self.port = free_port()

    @property
    def url(self) -> str:
        """For `redis.Redis.from_url`."""
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str | Path]:
        """Return the command line."""
        fixed = f"--port {self.port} --bind 127.0.0.1 --appendonly no --daemonize no"
        return [self._program, *fixed.split(), "--save", "", *self._options]

    def is_ready(self) -> bool:
        """Return whether it answers a PING."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def close_cluster(client: Any) -> None:
    """Close a `redis.RedisCluster` with its connections, which its own `close` leaves open."""
    for node in client.get_nodes():
        if node.redis_connection is not None:
            node.redis_connection.connection_pool.disconnect()
    client.close()
