"""A signal ends the process: the last interval arrives, and the process ends as without us."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otlp_receiver import Receiver

from parts import free_port, wait_until

pytestmark = [pytest.mark.patient, pytest.mark.timeout(120)]

DURATION = "otel_studio.operation.duration"
CONFIGURE = """
    import otel_studio
    otel_studio.configure(
        service_name="shop", traces_exporter="otlp", metrics_exporter="otlp", logs_exporter="otlp",
        sampler="always_on", export_interval=3600, metric_export_interval=3600,
    )
"""
APP = """
    import logging
    import otel_studio

    @otel_studio.track("answer", service="shop")
    def answer():
        logging.getLogger("shop").warning("answered")
        return b"ok"

    async def app(scope, receive, send):
        if scope["type"] == "http":
            body = answer()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver("http/protobuf")
    yield made
    made.stop()


def _environment(receiver: Receiver, **more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return {
        **plain,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "PYTHONWARNINGS": "ignore",
        **more,
    }


def _write(folder: Path, *sources: str) -> None:
    source = "".join(textwrap.dedent(each) for each in sources)
    (folder / "program.py").write_text(source)


def _start(folder: Path, receiver: Receiver, *command: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(word) for word in command],
        cwd=folder,
        env=_environment(receiver, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _script(folder: Path, receiver: Receiver, *sources: str) -> subprocess.Popen[str]:
    """Start a script, and wait until it says that it waits."""
    _write(folder, *sources)
    process = _start(folder, receiver, sys.executable, "program.py")
    assert process.stdout is not None
    assert process.stdout.readline() == "waits\n"
    return process


def _ended(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
    os.kill(process.pid, number)
    _, logged = process.communicate(timeout=60)
    assert "Traceback" not in logged, logged
    return process.returncode


def _operations(receiver: Receiver) -> int:
    """Return how many runs the last metrics tell of, of all processes."""
    latest: dict[Any, int] = {}
    for request in receiver.taken["metrics"]:
        for resource in request.resource_metrics:
            who = [a.value.string_value for a in resource.resource.attributes]
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == DURATION:
                        key = tuple(sorted(who))
                        latest[key] = sum(p.count for p in metric.histogram.data_points)
    return sum(latest.values())


def _names(receiver: Receiver) -> list[str]:
    return [span.name for span in receiver.items("traces")]


WORK = """
    import time
    with otel_studio.service("shop").operation("pay"):
        pass
    print("waits", flush=True)
    while True:  # a signal that comes right before a sleep is handled after it
        time.sleep(0.1)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_script_without_a_handler(tmp_path: Path, receiver: Receiver, number: int) -> None:
    """Everything arrives once, and the parent sees the signal as the reason of its end."""
    by_default = f"""
    import signal
    signal.signal({int(number)}, signal.SIG_DFL)  # these tests may run under nohup
    """
    process = _script(tmp_path, receiver, by_default, CONFIGURE, WORK)
    assert _ended(process, number) == -number
    assert _names(receiver) == ["pay"]
    assert _operations(receiver) == 1


def test_nothing_stands_where_nothing_is_sent(tmp_path: Path, receiver: Receiver) -> None:
    """Without an exporter, and after `shutdown()`, the default action stands."""
    process = _script(
        tmp_path,
        receiver,
        """
        import signal
        import otel_studio
        otel_studio.configure(service_name="shop")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        otel_studio.shutdown()
        otel_studio.configure(service_name="shop", traces_exporter="otlp")
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        otel_studio.shutdown()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        print("waits", flush=True)
        """,
    )
    _, logged = process.communicate(timeout=60)
    assert process.returncode == 0, logged


@pytest.mark.parametrize("is_first", [True, False])
def test_a_handler_of_the_program_stays(tmp_path: Path, receiver: Receiver, is_first: bool) -> None:
    """Set before us or after us; its exit is Python's own, and so is ours."""
    handler = """
    import signal, sys
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    """
    parts = [handler, CONFIGURE] if is_first else [CONFIGURE, handler]
    process = _script(tmp_path, receiver, *parts, WORK)
    assert _ended(process) == 7
    assert _names(receiver) == ["pay"]
    assert _operations(receiver) == 1


def test_a_handler_that_calls_the_one_before_goes_on(tmp_path: Path, receiver: Receiver) -> None:
    """What was to be sent is sent, and the process does not end under its hands."""
    chained = """
    import signal, sys
    before = signal.getsignal(signal.SIGTERM)

    def clean_up(number, frame):
        before(number, frame)
        with otel_studio.service("shop").operation("clean up"):
            pass
        sys.exit(3)

    signal.signal(signal.SIGTERM, clean_up)
    """
    process = _script(tmp_path, receiver, CONFIGURE, chained, WORK)
    assert _ended(process) == 3
    assert _names(receiver) == ["pay", "clean up"]


def test_an_ignored_signal_stays_ignored(tmp_path: Path, receiver: Receiver) -> None:
    """As under nohup."""
    ignored = """
    import signal
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    """
    process = _script(tmp_path, receiver, ignored, CONFIGURE, WORK)
    os.kill(process.pid, signal.SIGHUP)
    assert _ended(process) == -signal.SIGTERM


def test_a_signal_inside_of_a_fold_waits_for_nobody(tmp_path: Path, receiver: Receiver) -> None:
    """It comes at any instruction of a busy program, many times over."""
    busy = """
    import os, signal, threading
    service = otel_studio.service("shop")
    with service.operation("pay"):
        pass
    print("waits", flush=True)
    while True:
        with service.operation("pay"):
            pass
        otel_studio.current().registry.reading()
    """
    for _ in range(3):
        process = _script(tmp_path, receiver, CONFIGURE, busy)
        assert _ended(process) == -signal.SIGTERM
        assert "pay" in _names(receiver)
        assert _operations(receiver)
        receiver.taken["traces"].clear()
        receiver.taken["metrics"].clear()


def test_a_second_signal_does_not_cut_the_end_short(tmp_path: Path, receiver: Receiver) -> None:
    """The end goes on; then the signal does what it does."""
    process = _script(tmp_path, receiver, CONFIGURE, WORK)
    for _ in range(5):
        try:
            os.kill(process.pid, signal.SIGTERM)
        except ProcessLookupError:
            break
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    assert _names(receiver) == ["pay"]


def test_a_dead_backend_delays_the_end_by_its_timeout(tmp_path: Path, receiver: Receiver) -> None:
    """And no longer."""
    receiver.stop()
    process = _script(
        tmp_path, receiver, CONFIGURE.replace("3600,\n", "3600, shutdown_timeout=1,\n", 1), WORK
    )
    began = time.monotonic()
    assert _ended(process) == -signal.SIGTERM
    assert time.monotonic() - began < 10  # of the default's five it would take longer
    receiver._stop = lambda: None


def test_a_child_of_multiprocessing_that_is_terminated(tmp_path: Path, receiver: Receiver) -> None:
    """A forked child sends what it did; its exit code is that of the signal."""
    forking = """
    import multiprocessing, time
    def child(ready):
        with otel_studio.service("shop").operation("in the child"):
            pass
        ready.set()
        while True:
            time.sleep(0.1)

    methods = multiprocessing.get_context("fork")
    ready = methods.Event()
    process = methods.Process(target=child, args=(ready,))
    process.start()
    ready.wait()
    process.terminate()
    process.join()
    assert process.exitcode == -15, process.exitcode
    print("waits", flush=True)
    """
    process = _script(tmp_path, receiver, CONFIGURE, forking)
    _, logged = process.communicate(timeout=60)
    assert process.returncode == 0, logged
    assert _names(receiver) == ["in the child"]


def _serve(process: subprocess.Popen[str], port: int, requests: int = 5) -> None:
    def is_there() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except OSError:
            assert process.poll() is None, process.communicate()
            return False
        finally:
            connection.close()

    wait_until(is_there, 30, "the server")
    for _ in range(requests - 1):
        assert is_there()


ZERO_CODE = {
    "OTEL_SERVICE_NAME": "shop",
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_METRICS_EXPORTER": "otlp",
    "OTEL_LOGS_EXPORTER": "otlp",
    "OTEL_BSP_SCHEDULE_DELAY": "3600000",
    "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
    "OTEL_TRACES_SAMPLER": "always_on",
    "OTEL_PYTHON_DISTRO": "otel_studio",
    "OTEL_PYTHON_CONFIGURATOR": "otel_studio",
}
SERVERS = {
    "uvicorn": ["uvicorn", "program:app", "--port", "PORT"],
    "uvicorn, 2 workers": ["uvicorn", "program:app", "--port", "PORT", "--workers", "2"],
    "gunicorn": [
        *("gunicorn", "program:app", "--bind", "127.0.0.1:PORT", "--workers", "2"),
        *("--worker-class", "uvicorn.workers.UvicornWorker"),
    ],
    "gunicorn, preload": [
        *("gunicorn", "program:app", "--bind", "127.0.0.1:PORT", "--workers", "2", "--preload"),
        *("--worker-class", "uvicorn.workers.UvicornWorker"),
    ],
}


@pytest.mark.parametrize("in_code", [True, False], ids=["in code", "zero-code"])
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_is_terminated(
    tmp_path: Path, receiver: Receiver, server: str, in_code: bool
) -> None:
    """Spans, metrics and log records of every answered request arrive, with no line by the user."""
    port = free_port()
    _write(tmp_path, *([CONFIGURE] if in_code else []), APP)
    words = [word.replace("PORT", str(port)) for word in SERVERS[server]]
    command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    if not in_code:
        command.insert(0, str(Path(sys.executable).with_name("opentelemetry-instrument")))
    more = {} if in_code else ZERO_CODE
    process = _start(tmp_path, receiver, *command, PYTHONPATH=_path(tmp_path), **more)
    _serve(process, port)
    _ended(process)
    assert _names(receiver).count("answer") == 5
    assert _operations(receiver) >= 5
    bodies = [record.body.string_value for record in receiver.items("logs")]
    assert bodies.count("answered") == 5


def test_a_program_that_runs_uvicorn_itself(tmp_path: Path, receiver: Receiver) -> None:
    """Its handler gives way to ours; the exit status is that of the signal."""
    port = free_port()
    run = f"""
    import uvicorn
    uvicorn.run(app, port={port}, log_level="warning")
    """
    _write(tmp_path, CONFIGURE, APP, run)
    process = _start(tmp_path, receiver, sys.executable, "program.py")
    _serve(process, port)
    assert _ended(process) == -signal.SIGTERM
    assert _names(receiver) == ["answer"] * 5
    assert _operations(receiver) == 5


def _path(folder: Path) -> str:
    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
