"""Every code block of the README and the documentation runs, page by page, as `page_blocks` says.

Each page has a process and a working directory of its own, as its reader has: `configure()` may
set what OpenTelemetry lets be set once. What a page sends over OTLP goes to a sink.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from parts import free_port

ROOT = Path(__file__).parents[2]
TOP = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PAGES = sorted([*TOP, *(ROOT / "docs").rglob("*.md")])
#: Languages that `page_blocks` checks, and those that are only shown.
CHECKED = {"python", "toml", "sh", "text"}
SHOWN = {"yaml", "json", "mermaid", "promql"}


class Sink(BaseHTTPRequestHandler):
    """Takes whatever is posted, as a Collector would."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def sink():
    with HTTPServer(("127.0.0.1", 0), Sink) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_blocks_of_the_page_run(page, sink, tmp_path):
    """A reader who follows the page from top to bottom meets no error and the printed output."""
    if not CHECKED.intersection(blocks(page)):
        return
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environ["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(Path(__file__).parent), str(ROOT)])
    environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environ["PATH"]])
    environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = sink
    environ["OTEL_EXPORTER_PROMETHEUS_PORT"] = str(free_port())
    options = [
        "-q",
        "-x",
        "-p",
        "page_blocks",
        "-p",
        "no:asyncio",
        "-p",
        "no:cacheprovider",
        "--import-mode=importlib",
    ]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *options,
            f"--rootdir={page.parent}",
            "-c",
            os.devnull,
            page,
        ],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_a_language_that_is_checked_or_only_shown(page):
    """No block escapes the test above by its first line."""
    assert set(blocks(page)) <= CHECKED | SHOWN


def blocks(page: Path) -> list[str]:
    """Return what the opening fence of each block of a page says."""
    fences = re.findall(r"^[ \t]*```(.*)$", page.read_text(), re.MULTILINE)
    return fences[::2]
