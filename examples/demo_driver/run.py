"""The demo from beginning to end: service, load, screen, summary."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import httpx
from rich.console import Console

import otel_studio as studio
from examples.demo_driver.load import Load
from examples.demo_driver.screen import LastRecords, Screen
from examples.demo_driver.server import ServiceDidNotStart, ServiceThread, free_port, listen
from examples.demo_driver.summary import print_summary
from examples.demo_driver.waiting import stopped_within
from examples.preview_service.app import create_app
from otel_studio import api

DEFAULT_PORT = 8000
PROMETHEUS_PORT = 9464
WIDEST = 100


def run_demo(
    seconds: float | None, port: int | None, rate: float, dump: Path | None, linger: float
) -> int:
    """Run the demo and return the process's exit status.

    Args:
        seconds: how long the load runs; `None` for until Ctrl-C.
        port: the service's; `None` for the default, or a free one when it is in use.
        rate: requests per second.
        dump: where the final statistics go, as JSON.
        linger: how long `/metrics` is served after the load has ended, in seconds.
    """
    console = Console(highlight=False)
    console.width = min(console.width, WIDEST)
    records = LastRecords()
    logging.basicConfig(level=logging.INFO, handlers=[records])
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        listener = listen(port or DEFAULT_PORT, or_any=port is None)
    except OSError as error:
        print(f"Port {port} cannot be used ({error}): give another --port.", file=sys.stderr)
        return 1
    _configure()
    with tempfile.TemporaryDirectory(prefix="preview-service-") as folder:
        service = ServiceThread(create_app(Path(folder)), listener)
        try:
            service.start()
        except ServiceDidNotStart as error:
            print("\n".join([f"{error}:", *records.lines()]), file=sys.stderr)
            return 1
        _print_addresses(console, service.address, seconds)
        began = time.monotonic()
        outcomes = asyncio.run(_drive(service.address, rate, seconds, Screen(console, records)))
        lasted = time.monotonic() - began
        service.stop()
        print_summary(console, lasted, outcomes)
        if dump is not None:
            _dump(dump)
        if linger:
            console.print(f"\n/metrics stays for {linger:g} s")
            asyncio.run(_linger(linger))
    studio.shutdown()
    return 0


def _configure() -> None:
    """Configure the studio; the variables that are set already go before the demo's own."""
    os.environ.setdefault("OTEL_SERVICE_NAME", "media-backend")
    os.environ.setdefault("OTEL_METRICS_EXPORTER", "prometheus")
    os.environ.setdefault("OTEL_EXPORTER_PROMETHEUS_PORT", str(free_port(PROMETHEUS_PORT)))
    studio.configure()


def _print_addresses(console: Console, address: str, seconds: float | None) -> None:
    console.print(f"Service  {address}/docs")
    console.print(f"Queries  {address}/studio")
    if "prometheus" in os.environ["OTEL_METRICS_EXPORTER"]:
        host = os.environ.get("OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1")
        console.print(
            f"Metrics  http://{host}:{os.environ['OTEL_EXPORTER_PROMETHEUS_PORT']}/metrics"
        )
    console.print(
        "Ctrl-C ends it" + (f", or it ends after {seconds:g} s" if seconds else ""), style="dim"
    )


async def _drive(address: str, rate: float, seconds: float | None, screen: Screen) -> Counter[str]:
    """Send load and show the screen until time is up or Ctrl-C."""
    with _stop_on_signals() as stop:
        async with httpx.AsyncClient(base_url=address, timeout=30) as client:
            load = Load(client, rate)
            parts = [asyncio.create_task(load.run(stop)), asyncio.create_task(screen.run(stop))]
            # Whatever ends first ends all: Ctrl-C, time, or a part that failed.
            end = asyncio.create_task(stop.wait())
            await asyncio.wait([end, *parts], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            stop.set()
            await asyncio.gather(end, *parts)
    return load.outcomes


async def _linger(seconds: float) -> None:
    with _stop_on_signals() as stop:
        await stopped_within(stop, seconds)


@contextmanager
def _stop_on_signals() -> Iterator[asyncio.Event]:
    """Give an event that Ctrl-C and SIGTERM set for as long as the context lasts."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def set_stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop.set)

    before = {number: signal.signal(number, set_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _dump(path: Path) -> None:
    """Write the statistics; whoever waits for the file finds it whole."""
    statistics = [service.to_dict() for service in api.get_all_metrics()]
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(json.dumps(statistics, indent=2), encoding="utf-8")
    unfinished.replace(path)
