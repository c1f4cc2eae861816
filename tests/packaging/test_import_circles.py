"""No file outside `spans/` is part of a circle of imports, at the top or inside a function."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from parts import ROOT

#: The span, its tracer and its provider are one thing in several files.
ONE_THING = "otel_studio.spans."


def modules_in(package: Path) -> dict[str, Path]:
    """Return the files of a package by the names of their modules."""
    found = {}
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports_of(module: str, file: Path) -> Iterator[str]:
    """Yield what a module imports, `package.name` for each name; not what only types need."""
    home = module.split(".")
    if file.name != "__init__.py":
        home = home[:-1]
    for node in _at_run_time(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = home[: len(home) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield other
                yield from _at_run_time(other)
        else:
            yield child
            yield from _at_run_time(child)


def graph_of(modules: Mapping[str, Path]) -> dict[str, set[str]]:
    """Return which of some modules import which others of them."""
    graph: dict[str, set[str]] = {}
    for module, file in modules.items():
        named = imports_of(module, file)
        homes = (name if name in modules else name.rpartition(".")[0] for name in named)
        graph[module] = {home for home in homes if home in modules}
    return graph


def circles_in(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the modules that reach each other, a list for each knot of them."""
    reached = {start: _reached(graph, start) for start in graph}
    knots = {
        tuple(sorted(other for other in reached[start] if start in reached[other]))
        for start in graph
        if start in reached[start]
    }
    return [list(knot) for knot in sorted(knots)]


def _reached(graph: Mapping[str, Iterable[str]], start: str) -> set[str]:
    found: set[str] = set()
    left = [start]
    while left:
        for other in graph[left.pop()]:
            if other not in found:
                found.add(other)
                left.append(other)
    return found


def test_no_circle_runs_through_a_file_outside_of_spans() -> None:
    """What two files know of each other can neither be moved nor be read apart."""
    circles = circles_in(graph_of(modules_in(ROOT / "otel_studio")))
    elsewhere = [circle for circle in circles if not all(m.startswith(ONE_THING) for m in circle)]
    assert not elsewhere, "\n".join(" <-> ".join(circle) for circle in elsewhere)


def test_no_instrumentation_package_has_a_circle() -> None:
    """The packages keep to the same rule."""
    for package in sorted((ROOT / "instrumentations").glob("*/src/*/")):
        circles = circles_in(graph_of(modules_in(package)))
        assert not circles, f"{package.name}: {circles}"


def test_a_circle_by_way_of_a_function_is_found(tmp_path: Path) -> None:
    """Imports count wherever they run, relative ones too; what only types need does not."""
    package = tmp_path / "shop"
    (package / "till").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "till/__init__.py": "",
        "till/coins.py": "def pay():\n    from shop.till import notes\n",
        "till/notes.py": "from ..stock import shelf\n",
        "stock.py": "import shop.till.coins\nshelf = 1\n",
        "typed.py": "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from shop.user import User\n",
        "user.py": "from shop import typed\nclass User: ...\n",
    }
    for name, text in files.items():
        (package / name).write_text(text)
    circles = circles_in(graph_of(modules_in(package)))
    assert circles == [["shop.stock", "shop.till.coins", "shop.till.notes"]]
