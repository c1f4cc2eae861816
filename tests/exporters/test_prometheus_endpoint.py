"""The endpoint of `/metrics`: no one can keep a scraper out, hold threads or fill the log."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from forked import in_forked_child
from otel_studio.base import guard
from otel_studio.exporters.prometheus import endpoint as module
from otel_studio.exporters.prometheus.answer import Answer
from otel_studio.exporters.prometheus.endpoint import MAX_CONNECTIONS, Endpoint


def respond(method: str, path: str, headers: dict[str, str]) -> Answer:
    body = f"{method} {path} {headers.get('accept', '-')}".encode()
    if path == "/large":
        body = b"x" * 20_000_000
    return Answer("200 OK", (("Content-Length", str(len(body))),), body)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    guard.forget_said()
    served = Endpoint(respond)
    assert served.serve("127.0.0.1", 0)
    yield served
    served.close()
    assert served.address is None
    assert not guard.internal_errors


def connect(endpoint: Endpoint) -> socket.socket:
    assert endpoint.address is not None
    address = urlsplit(endpoint.address)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=20)


def fetch(endpoint: Endpoint, path: str = "/metrics") -> bytes:
    assert endpoint.address is not None
    url = endpoint.address.replace("/metrics", path)
    with urllib.request.urlopen(url, timeout=20) as answered:
        body: bytes = answered.read()
        return body


def test_requests_are_answered_however_their_bytes_come(endpoint: Endpoint) -> None:
    """In one piece or byte by byte, by path or by whole address, with a query or without."""
    assert fetch(endpoint) == b"GET /metrics -"
    assert fetch(endpoint, "/metrics?name[]=up") == b"GET /metrics -"
    with connect(endpoint) as connected:
        for byte in b"GET http://host/x HTTP/1.1\r\nAccept: a\r\naccept: b\r\n\r\n":
            connected.sendall(bytes((byte,)))
        answered = connected.makefile("rb").read()
    assert answered.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answered.endswith(b"GET /x a, b")


def test_what_is_no_request_is_refused_or_closed(endpoint: Endpoint) -> None:
    """Garbage gets a 400, a head without end is cut off, and the next scrape is answered."""
    with connect(endpoint) as connected:
        connected.sendall(b"hello\r\n\r\n")
        assert connected.makefile("rb").read().startswith(b"HTTP/1.1 400 Bad Request")
    with connect(endpoint) as connected:
        try:
            connected.sendall(b"x" * 1_000_000)
            assert connected.recv(10) == b""
        except ConnectionError:
            pass
    assert fetch(endpoint) == b"GET /metrics -"


def test_silent_connections_hold_no_thread_and_give_way(endpoint: Endpoint) -> None:
    """More than there is room for: each new one takes the place of the oldest."""
    threads = threading.active_count()
    silent = [connect(endpoint) for _ in range(MAX_CONNECTIONS * 2)]
    assert fetch(endpoint) == b"GET /metrics -"
    assert threading.active_count() == threads
    assert silent[0].recv(1) == b""
    for connected in silent:
        connected.close()


def test_a_silent_connection_is_closed_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it says nothing, or half a request."""
    monkeypatch.setattr(module, "_REQUEST_SECONDS", 0.05)
    served = Endpoint(respond)
    assert served.serve("127.0.0.1", 0)
    for said in (b"", b"GET /metrics"):
        with connect(served) as connected:
            connected.sendall(said)
            assert connected.recv(1) == b""
    served.close()


def test_a_reader_that_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are answered meanwhile, and at the deadline its connection is closed."""
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.2)
    served = Endpoint(respond)
    assert served.serve("127.0.0.1", 0)
    with connect(served) as slow:
        slow.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        assert fetch(served) == b"GET /metrics -"
        while served._connections:
            threading.Event().wait(0.01)
        taken = 0
        try:
            while piece := slow.recv(1 << 20):
                taken += len(piece)
        except ConnectionError:
            pass
    assert taken < 20_000_000
    served.close()


def test_a_large_answer_is_whole(endpoint: Endpoint) -> None:
    """It goes as its reader takes it."""
    assert len(fetch(endpoint, "/large")) == 20_000_000


def test_a_scraper_that_goes_away_is_no_event(
    endpoint: Endpoint, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Before, during and after its request: nothing on the console, nothing in the log."""
    for said in (b"", b"GET /me", b"GET /large HTTP/1.1\r\n\r\n"):
        connected = connect(endpoint)
        connected.sendall(said)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connected.close()  # with a reset
    assert fetch(endpoint) == b"GET /metrics -"
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_a_failure_of_ours_costs_one_connection(error: type[BaseException]) -> None:
    """It is counted, and the endpoint goes on; so it does where a callback would end the thread."""
    guard.forget_said()

    def fails_once(method: str, path: str, headers: dict[str, str]) -> Answer:
        if path == "/fail":
            raise error
        return respond(method, path, headers)

    served = Endpoint(fails_once)
    assert served.serve("127.0.0.1", 0)
    with connect(served) as connected:
        connected.sendall(b"GET /fail HTTP/1.1\r\n\r\n")
        assert connected.recv(1) == b""
    assert fetch(served) == b"GET /metrics -"
    assert guard.internal_errors == {"answering on /metrics": 1}
    served.close()


def test_a_child_leaves_the_endpoint_to_its_parent(endpoint: Endpoint) -> None:
    """It serves nothing, may serve elsewhere, and the parent's open connections go on."""
    with connect(endpoint) as half:
        half.sendall(b"GET /metrics HTTP/1.1\r\n")
        assert fetch(endpoint) == b"GET /metrics -"  # by now the first one is accepted

        def child() -> list[object]:
            half.close()
            endpoint.after_fork_in_child()
            before = endpoint.address
            assert endpoint.serve("127.0.0.1", 0)
            found = fetch(endpoint).decode()
            endpoint.close()
            return [before, found]

        assert in_forked_child(child) == [None, "GET /metrics -"]
        half.sendall(b"\r\n")
        assert half.makefile("rb").read().endswith(b"GET /metrics -")
    assert fetch(endpoint) == b"GET /metrics -"
