"""Runs a function in a forked child and brings back what it returned."""

from __future__ import annotations

import json
import os
import traceback
import warnings
from collections.abc import Callable
from typing import Any

#: Seconds after which a child that hangs is ended by the system.
_LIMIT_SECONDS = 30


def in_forked_child(function: Callable[[], Any]) -> Any:
    """Return what a function returns in a forked child, through JSON.

    Args:
        function: runs in the child, which ends right after it, without exit handlers.

    Raises:
        AssertionError: with the child's traceback, if it raised, or if it ended otherwise.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 and later warn that a child may find locks of other threads held:
        # what these tests show is that ours are not.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        import signal

        signal.alarm(_LIMIT_SECONDS)
        try:
            answer = {"returned": function()}
        except BaseException:
            answer = {"raised": traceback.format_exc()}
        with os.fdopen(writing, "w") as stream:
            json.dump(answer, stream)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        text = stream.read()
    _, status = os.waitpid(pid, 0)
    if not text:
        raise AssertionError(f"the forked child ended with status {status} and said nothing")
    answer = json.loads(text)
    if "raised" in answer:
        raise AssertionError(f"in the forked child:\n{answer['raised']}")
    return answer["returned"]
