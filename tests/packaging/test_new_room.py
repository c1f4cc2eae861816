"""A new room is a folder, a line in `assembly/` and a line in the import contract."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parts import ROOT, need

#: The room: its folder's files.
FILES = {
    "__init__.py": '"""Nothing yet: shows what a new room takes."""\n',
    "room.py": '''\
"""The room of a Studio that says what it is told."""

from __future__ import annotations


class EmptyRoom:
    """Prints its events."""

    def start(self) -> None:
        print("start", flush=True)

    def stop(self, timeout: float) -> None:
        print("stop", flush=True)

    def before_fork(self) -> None:
        print("before_fork", flush=True)

    def after_fork_in_parent(self) -> None:
        print("after_fork_in_parent", flush=True)

    def after_fork_in_child(self) -> None:
        print("after_fork_in_child", flush=True)
''',
}
#: Its line in the import contract, above the layer of the base.
LAYER = '  "empty",\n'
BELOW = '  "base",\n'
#: The line that builds it, and the import of what that line names.
BUILDS = """\
        from otel_studio.empty.room import EmptyRoom
        self._rooms.add(EmptyRoom())
"""
#: The end of a Studio's making, which stands below it.
MADE = "        forking.watch(self)\n"

USES = """\
import otel_studio
print(otel_studio.__file__)
studio = otel_studio.configure(service_name="shop")
otel_studio.shutdown()
"""
FORKS = """\
import os, warnings
import otel_studio
warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
studio = otel_studio.configure(service_name="shop")
child = os.fork()
if not child:
    os._exit(0)
os.waitpid(child, 0)
otel_studio.shutdown()
"""


class Tree:
    """A copy of the package and its project file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.room = folder / "otel_studio" / "empty"
        self.contract = folder / "pyproject.toml"
        self.studio = folder / "otel_studio" / "assembly" / "studio.py"
        leave_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "otel_studio", folder / "otel_studio", ignore=leave_out)
        shutil.copy(ROOT / "pyproject.toml", self.contract)

    def add_folder(self) -> None:
        self.room.mkdir()
        for name, text in FILES.items():
            (self.room / name).write_text(text)

    def add_layer(self) -> None:
        insert(self.contract, LAYER, above=BELOW)

    def add_to_studio(self) -> None:
        insert(self.studio, BUILDS, above=MADE)

    def remove_all(self) -> None:
        shutil.rmtree(self.room)
        for file, text in ((self.contract, LAYER), (self.studio, BUILDS)):
            file.write_text(file.read_text().replace(text, ""))

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env={"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    def lint(self) -> subprocess.CompletedProcess[str]:
        return self.run(need("lint-imports"), "--no-cache")

    def said(self, program: str) -> list[str]:
        """Return the lines that a program on this tree prints."""
        done = self.run(sys.executable, "-c", program)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def files(self) -> dict[str, bytes]:
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}


def insert(file: Path, text: str, *, above: str) -> None:
    before = file.read_text()
    assert before.count(above) == 1, f"{file.name} has not one line {above!r}"
    file.write_text(before.replace(above, text + above))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_the_contract_refuses_a_room_that_has_no_line_in_it(tree: Tree) -> None:
    """It is exhaustive: with the line it passes, without it does not."""
    need("lint-imports")
    tree.add_folder()
    refused = tree.lint()
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert "empty" in refused.stdout
    tree.add_layer()
    passed = tree.lint()
    assert passed.returncode == 0, passed.stdout + passed.stderr


def test_a_room_that_one_line_builds_lives_with_its_studio(tree: Tree) -> None:
    """It is started and stopped with the Studio, and keeps to the contract."""
    need("lint-imports")
    tree.add_folder()
    tree.add_layer()
    tree.add_to_studio()
    used, *said = tree.said(USES)
    assert Path(used).parent == tree.room.parent
    assert said == ["start", "stop"]
    linted = tree.lint()
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.only_where(hasattr(os, "fork"), "a system that can fork")
def test_a_room_that_one_line_builds_is_told_of_forks(tree: Tree) -> None:
    """Both processes tell it, in the order of the fork protocol."""
    tree.add_folder()
    tree.add_to_studio()
    said = tree.said(FORKS)
    assert [said[0], said[1], said[-1]] == ["start", "before_fork", "stop"]
    assert sorted(said[2:-1]) == ["after_fork_in_child", "after_fork_in_parent"]


def test_a_room_that_is_taken_out_leaves_nothing(tree: Tree) -> None:
    """Without folder and lines the tree is what it was, and so is what it does."""
    need("lint-imports")
    before = tree.files()
    tree.add_folder()
    tree.add_layer()
    tree.add_to_studio()
    tree.remove_all()
    assert tree.files() == before
    assert tree.lint().returncode == 0
    assert len(tree.said(USES)) == 1
