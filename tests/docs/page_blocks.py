"""A pytest plugin that runs the code blocks of a page of the documentation, in order.

python       runs in the page's one namespace, as `__main__`; but a block whose first line is
             `# name.py` is written to that file in the working directory, and a file
             `test_*.py` is run by pytest
toml         the same with a first line `# name.toml`, without running
sh           Python programs and the console scripts of this environment run; of `pip install`
             and `make` the extras and the targets must exist; any other program is only named
text         what the block before it printed; `...` stands for any text
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

ROOT = Path(__file__).parents[2]
FILE_NAME = re.compile(r"# ([\w/.-]+\.(?:py|toml))\n")
RUN_HERE = ("python", "opentelemetry-instrument", "otel-studio")
ONLY_NAMED = ("cd", "curl", "docker", "git", "gunicorn", "pre-commit", "uvicorn")

_run_in_namespace = PythonEvaluator()


def python(example: Example) -> None:
    if file := _written(example.parsed):
        if file.name.startswith("test_"):
            _run(example, [sys.executable, "-m", "pytest", "-q", "-p", "no:page_blocks", str(file)])
        return
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        _run_in_namespace(example)
    example.namespace["_printed"] = printed.getvalue()


def toml(example: Example) -> None:
    tomllib.loads(example.parsed)
    _written(example.parsed)


def text(example: Example) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    printed = example.namespace.pop("_printed", "")
    expected = example.parsed.rstrip() + "\n"
    assert doctest.OutputChecker().check_output(expected, printed.rstrip() + "\n", flags), (
        f"expected:\n{expected}\nprinted:\n{printed}"
    )


def shell(example: Example) -> None:
    printed = ""
    for line in example.parsed.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        variables = {}
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            name, _, value = words.pop(0).partition("=")
            variables[name] = value
        if not words:
            assert not variables, f"a line of variables alone does nothing: {line}"
        elif words[0] in RUN_HERE:
            program = sys.executable if words[0] == "python" else _beside_python(words[0])
            printed += _run(example, [program, *words[1:]], variables)
        elif words[:2] == ["pip", "install"]:
            _check_requirements(words[2:])
        elif words[0] == "make":
            _check_targets(words[1:])
        else:
            assert words[0] in ONLY_NAMED, f"it is not said how to check {words[0]}: {line}"
    example.namespace["_printed"] = printed


def _written(source: str) -> Path | None:
    named = FILE_NAME.match(source)
    if named is None:
        return None
    file = Path(named[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)
    if file.suffix == ".py":
        compile(source, str(file), "exec")
    return file


def _run(example: Example, command: list[str], variables: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    )
    return done.stdout


def _beside_python(name: str) -> str:
    program = Path(sys.executable).with_name(name)
    assert program.exists(), f"{name} is not installed beside {sys.executable}"
    return str(program)


def _check_requirements(words: list[str]) -> None:
    for word in words:
        assert not word.startswith("otel-studio"), f"{word} is on no index: name its folder"
        if (named := re.fullmatch(r"(\.[\w./*-]*)(?:\[([\w,-]+)\])?", word)) is None:
            continue  # a package of somebody else's
        projects = list(ROOT.glob(named[1] + "/pyproject.toml"))
        assert projects, f"no project is at {word}"
        for file in projects:
            extras = tomllib.loads(file.read_text())["project"].get("optional-dependencies", {})
            assert set((named[2] or "").split(",")) - {""} <= set(extras), word


def _check_targets(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert words, "make without a target"
    for word in words:
        assert "=" in word or word in targets, f"the Makefile has no target {word}"


pytest_collect_file = Sybil(
    parsers=[
        CodeBlockParser("python", python),
        CodeBlockParser("toml", toml),
        CodeBlockParser("sh", shell),
        CodeBlockParser("text", text),
    ],
    path=str(ROOT),
    patterns=["*.md", "**/*.md"],
    setup=lambda namespace: namespace.update(__name__="__main__"),
).pytest()
