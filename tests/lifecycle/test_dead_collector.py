"""With the Collector dead, `shutdown()` and the interpreter's exit take 5 seconds at most."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from parts import free_port
from program import run_program

PROGRAM = """
import time
import otel_studio

otel_studio.configure(service_name="shop")
work = otel_studio.service("shop")
for _ in range(5_000):
    with work.operation("pay"):
        pass
began = time.monotonic()
if {explicit}:
    sent = otel_studio.shutdown()
    print(sent, time.monotonic() - began)
print(time.time(), flush=True)
"""
#: Seconds for the interpreter, imports and the work, on a busy machine of two cores.
STARTING = 20.0


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts every connection and never answers."""
    server = socket.create_server(("127.0.0.1", 0))
    connections = []
    ended = threading.Event()

    def accept() -> None:
        while not ended.is_set():
            try:
                connections.append(server.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    ended.set()
    # A connection of our own ends the blocking accept.
    socket.create_connection(server.getsockname()).close()
    thread.join(5)
    for connection in (server, *connections):
        connection.close()


def variables(protocol: str, port: int) -> dict[str, str]:
    return {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
    }


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("kind", ["closed", "silent"])
def test_shutdown_is_bounded(tmp_path, silent_port, protocol, kind):
    """`shutdown()` answers False within 5 seconds, and the exit after it adds nothing."""
    port = silent_port if kind == "silent" else free_port()
    ended = run_program(tmp_path, PROGRAM.format(explicit=True), **variables(protocol, port))
    assert ended.code == 0, ended.logged
    sent, seconds = ended.printed.splitlines()[0].split()
    assert sent == "False"
    assert float(seconds) <= 5.2
    assert ended.seconds <= STARTING + 5
    assert "Traceback (most recent call last)" not in ended.logged


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("kind", ["closed", "silent"])
def test_the_interpreters_exit_is_bounded(tmp_path, silent_port, protocol, kind):
    """A program that never calls `shutdown` ends within 5 seconds of its last line."""
    port = silent_port if kind == "silent" else free_port()
    ended = run_program(
        tmp_path, LAST_LINE + PROGRAM.format(explicit=False), **variables(protocol, port)
    )
    assert ended.code == 0, ended.logged
    last_line, gone = float(ended.printed), float(ended.logged.partition("gone at ")[2].split()[0])
    assert gone - last_line <= 5.5
    assert "Traceback (most recent call last)" not in ended.logged


#: Registered first, so that it runs last: says when every other exit handler is done.
LAST_LINE = """
import atexit, sys, time
# In one write: the exporters' threads may be logging at the same time.
atexit.register(lambda: sys.stderr.write(f"\\ngone at {time.time()} \\n"))
"""
