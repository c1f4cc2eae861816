"""Names: of pools, and of the functions that they run."""

from __future__ import annotations

import concurrent.futures
import contextvars
import functools
import re
from collections.abc import Callable
from typing import Any

_DEFAULT_PREFIX = re.compile(r"^ThreadPoolExecutor-\d+$")

_MAX_NAME = 200


def function_name(function: Callable[..., Any]) -> str:
    """Return what a task does, as `module.function`, through the wrappers that pools add.

    Args:
        function: what was submitted.

    Example:
        >>> import functools, json
        >>> function_name(functools.partial(json.dumps, indent=2))
        'json.dumps'
    """
    for _ in range(8):
        if isinstance(function, functools.partial):
            # `executor.map` of processes submits `partial(_process_chunk, function)`, and
            # `asyncio.to_thread` submits `partial(context.run, function)`.
            inner = function.func
            carries = _is_carrier(inner) and function.args and callable(function.args[0])
            function = function.args[0] if carries else inner
        else:
            break
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    module = getattr(function, "__module__", None) or type(function).__module__
    text = name if module in (None, "builtins", "__main__") else f"{module}.{name}"
    return text[:_MAX_NAME]


def _is_carrier(function: Any) -> bool:
    if isinstance(getattr(function, "__self__", None), contextvars.Context):
        return True
    return getattr(function, "__name__", None) == "_process_chunk"


def executor_name(executor: concurrent.futures.Executor) -> str:
    """Return a pool's name: the prefix that its maker gave its threads, else its class.

    The prefix that Python makes up is numbered, so a new pool a request would be a new name.

    Args:
        executor: any executor.
    """
    prefix = getattr(executor, "_thread_name_prefix", "")
    if isinstance(prefix, str) and prefix and not _DEFAULT_PREFIX.match(prefix):
        return prefix[:_MAX_NAME]
    return type(executor).__name__


def executor_kind(executor: concurrent.futures.Executor) -> str:
    """Return `thread`, `process` or `interpreter`.

    Args:
        executor: one of the pools of `concurrent.futures`.
    """
    if type(executor).__module__.endswith(".process") or isinstance(
        executor, concurrent.futures.ProcessPoolExecutor
    ):
        return "process"
    interpreters = getattr(concurrent.futures, "InterpreterPoolExecutor", None)
    if interpreters is not None and isinstance(executor, interpreters):
        return "interpreter"
    return "thread"
