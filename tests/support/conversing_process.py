"""A program in a process of its own, whose functions a test calls."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

#: Follows the program's own text: answers one call per line until its input ends.
_LOOP = """

if __name__ == "__main__":
    import json as _json
    import sys as _sys
    import traceback as _traceback

    _answers, _sys.stdout = _sys.stdout, _sys.stderr
    print(_json.dumps({"returned": None}), file=_answers, flush=True)
    for _line in _sys.stdin:
        _name, *_arguments = _json.loads(_line)
        try:
            _answer = {"returned": globals()[_name](*_arguments)}
        except BaseException:
            _answer = {"raised": _traceback.format_exc()}
        print(_json.dumps(_answer), file=_answers, flush=True)
"""


class ConversingProcess:
    """A Python program whose functions a test calls through its standard input; a context manager.

    What the program prints goes to its standard error, kept in `output.txt`.

    Args:
        folder: for the program's file and its output; also where it runs.
        program: its source text, which defines the functions.
        environment: variables beside those of the test's own, without `OTEL_*`.
        starter: what stands in front of the program's path on the command line.

    Example:
        >>> with ConversingProcess(tmp_path, "def add(a, b): return a + b") as process:
        ...     process.call("add", 1, 2)  # doctest: +SKIP
        3
    """

    #: Seconds that the program may take for its start, and for an answer.
    timeout = 30.0

    def __init__(
        self,
        folder: Path,
        program: str,
        environment: Mapping[str, str] | None = None,
        starter: Sequence[str | Path] = (sys.executable,),
    ) -> None:
        self.folder = folder
        self.program = folder / "program.py"
        self.program.write_text(program + _LOOP)
        self._command = [*starter, self.program]
        clean = {name: value for name, value in os.environ.items() if "OTEL" not in name}
        self._environment = {**clean, **(environment or {})}
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def output(self) -> str:
        """Return what the program has written so far, other than answers."""
        return (self.folder / "output.txt").read_text(errors="replace")

    def call(self, function: str, *arguments: Any) -> Any:
        """Return what a function of the program returns, through JSON.

        Args:
            function: its name.
            *arguments: anything that JSON can say.

        Raises:
            AssertionError: with the program's traceback, if the function raised.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([function, *arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer(function)

    def _answer(self, what: str) -> Any:
        try:
            line = self._lines.get(timeout=self.timeout)
        except queue.Empty:
            raise AssertionError(
                f"no answer to {what}; the program wrote:\n{self.output()}"
            ) from None
        if not line:
            raise AssertionError(f"the program ended at {what}, having written:\n{self.output()}")
        answer = json.loads(line)
        if "raised" in answer:
            raise AssertionError(f"in the program, at {what}:\n{answer['raised']}")
        return answer["returned"]

    def end(self) -> int:
        """Close the program's input, wait for its end and return its exit status."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(self.timeout)

    def __enter__(self) -> Self:
        with (self.folder / "output.txt").open("wb") as output:
            self._process = subprocess.Popen(
                [str(word) for word in self._command],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
        # A thread reads, so that a program that hangs fails its test and not the run.
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self._answer("its start")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
