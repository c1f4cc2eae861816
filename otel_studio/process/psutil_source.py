"""Asks psutil, when it is installed, for what the kernel's files did not tell."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any


def load_psutil() -> ModuleType | None:
    """Return psutil, or `None` when it is not installed or does not load on this platform."""
    try:
        return importlib.import_module("psutil")
    except Exception:  # a broken build may raise anything while it loads
        return None


class PsutilSource:
    """psutil's figures for the calling process and for the machine; `None` where it has none.

    The process object belongs to one pid, so it is made anew in a forked child.

    Args:
        load: returns the module or `None`; called at most once, on the first question.
    """

    def __init__(self, load: Any = load_psutil) -> None:
        self._load = load
        self._module: ModuleType | None = None
        self._loaded = False
        self._process: tuple[int, Any] | None = None

    def machine(self, function: str) -> Any:
        """Return what `psutil.<function>()` returns, or `None`."""
        return _ask(self._psutil(), function)

    def process(self, method: str) -> Any:
        """Return what `psutil.Process().<method>()` returns for the calling process, or `None`."""
        module = self._psutil()
        if module is None:
            return None
        pid = os.getpid()
        if self._process is None or self._process[0] != pid:
            made = _ask(module, "Process")
            if made is None:
                return None
            self._process = (pid, made)
        return _ask(self._process[1], method)

    def _psutil(self) -> ModuleType | None:
        if not self._loaded:
            self._module = self._load()
            self._loaded = True
        return self._module


def _ask(owner: Any, name: str) -> Any:
    # A call may be missing on this platform, denied, or fail for a reason of the kernel's:
    # each means the figure has no source, and none may reach the program.
    try:
        return getattr(owner, name)()
    except Exception:
        return None
