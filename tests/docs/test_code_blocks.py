"""Every code block of the READMEs and the documentation runs, page by page, as `page_blocks` says.

Each page has a process and a working directory of its own, as its reader has: `configure()` may
set what OpenTelemetry lets be set once. What a page sends over OTLP goes to a sink.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from parts import free_port, need
from redis_server import RedisServer

ROOT = Path(__file__).parents[2]
TOP = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PACKAGES = ROOT / "instrumentations"
PAGES = sorted([*TOP, *(ROOT / "docs").rglob("*.md"), *PACKAGES.glob("*/README.md")])
OF_FFMPEG, OF_REDIS = PACKAGES / "ffmpeg" / "README.md", PACKAGES / "redis" / "README.md"
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
    if page == OF_FFMPEG:
        need("ffmpeg")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    path = [tmp_path, Path(__file__).parent, ROOT, *PACKAGES.glob("*/src")]
    environ["PYTHONPATH"] = os.pathsep.join(map(str, path))
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
    command = [sys.executable, "-m", "pytest", *options, f"--rootdir={page.parent}"]
    with RedisServer(tmp_path / "server") if page == OF_REDIS else nullcontext() as redis:
        if redis is not None:
            environ["REDIS_URL"] = redis.url
        done = subprocess.run(
            [*command, "-c", os.devnull, page],
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
