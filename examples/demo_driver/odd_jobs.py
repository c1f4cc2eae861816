"""Jobs as they come in real services: logged by loguru, shipped by pickle, named by a raw file."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable

from loguru import logger

import otel_studio as studio
from otel_studio.logs import loguru_sink

SERVICE = "odd-jobs"
#: A file's name in Latin-1, with the escapes of a terminal and the markup of a screen.
HOSTILE_NAME = os.fsdecode(b"caf\xe9 \x1b[31m[bold]=1+1.mp4")


def join_loguru() -> None:
    """Have what loguru is told joined to operations, and not written over the screen."""
    logger.remove()
    logger.add(loguru_sink, level="INFO")


@studio.track("say_by_loguru", service=SERVICE)
def say_by_loguru() -> None:
    """Log past the standard `logging`."""
    logger.bind(job="odd").info("sold with password={}", "hunter2")


@studio.track("pickled", service=SERVICE)
def count_letters(text: str) -> int:
    """Do what a pool's worker is sent."""
    return len(text)


def run_pickled() -> None:
    """Run a tracked function as another process would get it, after it ran here."""
    shipped: Callable[[str], int] = pickle.loads(pickle.dumps(count_letters))
    shipped("letters")


def open_hostile_name() -> None:
    """Run an operation that is called as a file that nobody could name."""
    with studio.service(SERVICE).operation(HOSTILE_NAME) as run:
        run.set_attribute("file.name", HOSTILE_NAME)


ODD_JOBS: tuple[Callable[[], None], ...] = (say_by_loguru, run_pickled, open_hostile_name)
