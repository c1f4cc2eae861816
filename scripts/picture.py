"""Draws the README's picture, docs/images/demo.svg, from a real run of the demo.

Run it as `python -m scripts.picture`; a number of seconds may follow.
"""

from __future__ import annotations

import asyncio
import io
import re
import sys
from pathlib import Path

import httpx
from rich.console import Console
from rich.text import Text

import otel_studio as studio
from examples.demo_driver.load import Load
from examples.demo_driver.screen import Screen, keep_last_records
from examples.demo_driver.server import listen, running_service
from examples.demo_driver.setup import configure_studio

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "demo.svg"
RATE = 15.0


def main() -> None:
    """Run the demo for a while and draw what its screen shows under load."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    records = keep_last_records()
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True, height=50)
    configure_studio()
    with running_service(listen(0, or_any=False)) as service:
        asyncio.run(_draw(service, seconds, Screen(console, records), console))
    studio.shutdown()
    svg = console.export_svg(title="make demo", unique_id="demo")
    # A picture that fetches its font from elsewhere may not do so where it is shown.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(svg, encoding="utf-8")


async def _draw(service: str, seconds: float, screen: Screen, console: Console) -> None:
    stop = asyncio.Event()
    async with httpx.AsyncClient(base_url=service, timeout=30, trust_env=False) as client:
        load = asyncio.create_task(Load(client, RATE).run(stop))
        await asyncio.sleep(seconds)
        console.print(Text("$ make demo\n", "bold"))
        console.print(screen.picture())
        stop.set()
        await load


if __name__ == "__main__":
    main()
