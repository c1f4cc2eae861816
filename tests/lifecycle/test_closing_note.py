"""At the end of a program whose receiver is dead, one line says how much was not sent."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import otel_studio
from otel_studio.assembly.closing_note import closing_note

from parts import free_port
from program import run_program

PROGRAM = """
import logging, sys
if {basic}:
    logging.basicConfig(level=logging.INFO)
import otel_studio
otel_studio.configure(
    service_name="shop", sampler="always_on", otlp_protocol={protocol!r}, gpu=False,
    traces_exporter="otlp", metrics_exporter="otlp", logs_exporter="otlp",
)
for _ in range(100):
    with otel_studio.service("s").operation("op"):
        pass
logging.getLogger("app").warning("hello")
"""


@pytest.mark.patient
@pytest.mark.parametrize("basic", [False, True], ids=["bare", "basicConfig"])
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_dead_receiver_is_one_line_at_the_end(tmp_path: Path, protocol: str, basic: bool) -> None:
    """All signals are in it, with numbers and the reason; nothing else is printed."""
    ended = run_program(
        tmp_path,
        PROGRAM.format(basic=basic, protocol=protocol),
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}",
    )
    assert ended.code == 0
    lines = [line for line in ended.logged.splitlines() if not line.startswith("INFO:")]
    prefixes = ("WARNING:app:", "WARNING:otel_studio:") if basic else ("", "")
    assert lines[0] == f"{prefixes[0]}hello"
    assert len(lines) == 2, ended.logged
    assert lines[1].startswith(
        f"{prefixes[1]}OTel Studio has ended with 100 spans, 1 log record and "
    )
    assert "metric points not sent: " in lines[1]
    assert "refused" in lines[1]
    assert ended.seconds < 15


def test_nothing_is_said_where_everything_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    """Nor are exporters kept quiet any longer than that."""
    exporters = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    filters = list(exporters.filters)
    with closing_note({("span", "spans"): lambda: 0}):
        pass
    assert exporters.filters == filters
    assert not caplog.records


def test_an_exporter_of_the_programs_own_is_not_kept_quiet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What logs outside of our threads, and of what we export, is the program's."""
    exporters = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    with closing_note({("span", "spans"): lambda: 1, ("log record", "log records"): lambda: 2}):
        exporters.warning("Transient error of somebody else's")
    assert [record.getMessage() for record in caplog.records] == [
        "Transient error of somebody else's",
        "OTel Studio has ended with 1 span and 2 log records not sent",
    ]


def test_an_end_in_the_middle_of_a_program_says_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """`shutdown()` returns False, within its time."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    otel_studio.configure(
        service_name="shop", sampler="always_on", traces_exporter="otlp", gpu=False
    )
    for _ in range(3):
        with otel_studio.service("s").operation("op"):
            pass
    assert otel_studio.shutdown(0.5) is False
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert said[0].startswith("OTel Studio has ended with 3 spans not sent: ")
