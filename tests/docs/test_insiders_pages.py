"""The pages for who works on the code name what is there: paths, rooms and make's targets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from parts import ROOT

PACKAGE = ROOT / "otel_studio"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = [CONTRIBUTING, ARCHITECTURE, *sorted((ROOT / "docs" / "decisions").glob("*.md"))]

#: A file or a folder in code font, and whether it is said to come.
NAMED = re.compile(
    r"`((?:[\w.*-]+/)+[\w.*-]*|[\w-]+\.(?:py|md|toml|yml|yaml|txt|in|sh)|\.[\w-]+\.yaml|Makefile)`"
    r"( \*\(to come\)\*)?"
)
#: What make and the tools write, and git does not keep.
MADE = (".venv/", "site/")


def named_in(page: Path) -> Iterator[tuple[str, bool]]:
    """Yield each path that a page names, and whether it is to come."""
    for path, to_come in NAMED.findall(page.read_text()):
        if path not in MADE:
            yield path, bool(to_come)


def is_there(path: str) -> bool:
    """Tell whether a path is one of the repository, or of a room."""
    found = [file for home in (ROOT, PACKAGE) for file in home.glob(path.rstrip("/"))]
    return any(file.is_dir() or not path.endswith("/") for file in found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_is_named_exists(page: Path) -> None:
    """No file was moved away from under the page, and no room is to come that is there."""
    paths = list(named_in(page))
    assert paths
    gone = sorted({path for path, to_come in paths if not to_come and not is_there(path)})
    assert not gone, f"{page.name} names what is not there: {', '.join(gone)}"
    came = sorted({path for path, to_come in paths if to_come and is_there(path)})
    assert not came, f"{page.name} says of what is there that it is to come: {', '.join(came)}"


def test_every_room_has_its_line_in_the_table() -> None:
    """Who opens a folder of the package finds there what it is."""
    rows = set(re.findall(r"^\| `(\w+)/`", ARCHITECTURE.read_text(), re.MULTILINE))
    rooms = {folder.parent.name for folder in PACKAGE.glob("*/__init__.py")}
    assert rooms <= rows


def test_the_rooms_are_in_the_order_of_the_contract() -> None:
    """Above stands what may import what is below."""
    contract = (ROOT / "pyproject.toml").read_text()
    layers = re.search(r"^layers = \[\n(.*?)^\]", contract, re.MULTILINE | re.DOTALL)
    assert layers is not None
    lines = [re.findall(r"\w+", line) for line in layers[1].splitlines()]
    height = {room: number for number, line in enumerate(lines) for room in line}
    rows = re.findall(r"^\| `(\w+)(?:/|\.py)`", ARCHITECTURE.read_text(), re.MULTILINE)
    assert [height[room] for room in rows] == sorted(height[room] for room in rows)


def test_every_target_of_make_that_is_named_exists() -> None:
    """A command that is copied from the page runs."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z-]+)", page.read_text())}
    assert named <= targets


def test_a_newcomer_finds_where_each_kind_of_change_goes() -> None:
    """The table has a row for each, with code, test and what else."""
    table = CONTRIBUTING.read_text().partition("## Where does this change go")[2]
    rows = re.findall(r"^\| (?!change|-).*$", table, re.MULTILINE)
    assert len(rows) >= 12
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 4, row
        assert all(cells), row
