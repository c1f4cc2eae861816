"""The hooks of pre-commit run what `make lint` and `make types` run, and fetch nothing."""

from __future__ import annotations

import re
import subprocess

import pytest

from parts import ROOT, need

yaml = pytest.importorskip("yaml")

REPOSITORIES = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
HOOKS = [hook for repository in REPOSITORIES for hook in repository["hooks"]]
MAKEFILE = (ROOT / "Makefile").read_text()


def test_all_hooks_are_local() -> None:
    """No repository of hooks is cloned, and no environment is made beside ours."""
    assert {repository["repo"] for repository in REPOSITORIES} == {"local"}
    assert {hook["language"] for hook in HOOKS} == {"system"}


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_the_hook_runs_a_command_that_there_is(hook: dict[str, str]) -> None:
    """It is a tool of the environment that make sets up, with options that the tool knows."""
    program, *words = hook["entry"].split()
    folder = re.search(r"^VENV \?= (\S+)$", MAKEFILE, re.MULTILINE)
    assert folder is not None
    home, _, tool = program.rpartition("/")
    assert home == f"{folder[1]}/bin"
    done = subprocess.run(
        [need(tool), *words, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_the_hook_is_a_part_of_what_make_checks(hook: dict[str, str]) -> None:
    """What passes here passes there."""
    words = [word for word in hook["entry"].split() if word != "--force-exclude"]
    assert f"$(BIN)/{' '.join(words).rpartition('bin/')[2]}" in MAKEFILE
