"""The instrumentation that needs no code in the service: FastAPI's and SQLAlchemy's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from sqlalchemy import Engine


def instrument_requests(app: FastAPI) -> None:
    """Make every request an operation, called after its method and route."""
    # One span a request says enough; those of each message sent and received would
    # multiply with the length of a stream.
    FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"])


@contextmanager
def instrumented_database(engine: Engine) -> Iterator[None]:
    """Make every statement an operation while the context lasts."""
    SQLAlchemyInstrumentor().instrument(engine=engine)
    try:
        yield
    finally:
        SQLAlchemyInstrumentor().uninstrument()
