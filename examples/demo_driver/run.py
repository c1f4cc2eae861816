"""The demo from beginning to end: service, load, screen, summary."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
from rich.console import Console

import otel_studio as studio
from examples.demo_driver.load import Load
from examples.demo_driver.screen import Screen, keep_last_records
from examples.demo_driver.server import ServiceDidNotStart, listen, running_service
from examples.demo_driver.setup import configure_studio
from examples.demo_driver.summary import print_summary
from examples.demo_driver.waiting import stop_on_signals, stopped_within
from otel_studio import api

DEFAULT_PORT = 8000
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
    records = keep_last_records()
    try:
        listener = listen(port or DEFAULT_PORT, or_any=port is None)
    except OSError as error:
        print(f"Port {port} cannot be used ({error}): give another --port.", file=sys.stderr)
        return 1
    metrics = configure_studio()
    try:
        with running_service(listener) as service:
            _print_addresses(console, service, metrics)
            began = time.monotonic()
            outcomes = asyncio.run(_drive(service, rate, seconds, Screen(console, records)))
            lasted = time.monotonic() - began
            memory = api.get_memory_usage_metrics()
        print_summary(console, lasted, outcomes, memory)
        if dump is not None:
            _dump(dump)
        if linger:
            console.print(f"\n/metrics stays for {linger:g} s")
            asyncio.run(_linger(linger))
    except ServiceDidNotStart as error:
        print("\n".join([f"{error}:", *records.lines()]), file=sys.stderr)
        return 1
    finally:
        studio.shutdown()
    return 0


def _print_addresses(console: Console, service: str, metrics: str | None) -> None:
    console.print(f"Service  {service}/docs")
    console.print(f"Queries  {service}/studio")
    if metrics is not None:
        console.print(f"Metrics  {metrics}")
    console.print("Ctrl-C ends it", style="dim")


async def _drive(address: str, rate: float, seconds: float | None, screen: Screen) -> Counter[str]:
    """Send load and show the screen until time is up or Ctrl-C."""
    with stop_on_signals() as stop:
        async with httpx.AsyncClient(base_url=address, timeout=30, trust_env=False) as client:
            load = Load(client, rate)
            parts = [asyncio.create_task(load.run(stop)), asyncio.create_task(screen.run(stop))]
            # Whatever ends first ends all: Ctrl-C, time, or a part that failed.
            end = asyncio.create_task(stop.wait())
            await asyncio.wait([end, *parts], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            stop.set()
            await asyncio.gather(end, *parts)
    return load.outcomes


async def _linger(seconds: float) -> None:
    with stop_on_signals() as stop:
        await stopped_within(stop, seconds)


def _dump(path: Path) -> None:
    """Write the statistics; whoever waits for the file finds it whole."""
    statistics = [service.to_dict() for service in api.get_all_metrics()]
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(json.dumps(statistics, indent=2), encoding="utf-8")
    unfinished.replace(path)
