"""The service: each request reads a row and asks an upstream for a price.

It knows nothing of telemetry. Runs in the environment of `bench/peers/service.txt`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

ITEMS = 100


class Base(DeclarativeBase):
    """The tables."""


class Item(Base):
    """A thing that has a price elsewhere."""

    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Offer(BaseModel):
    """The answer."""

    id: int
    name: str
    price: int


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Make the database, and keep it and the connections to the upstream."""
    with TemporaryDirectory() as folder:
        app.state.engine = create_engine(f"sqlite:///{Path(folder, 'items.db')}")
        Base.metadata.create_all(app.state.engine)
        with Session(app.state.engine) as session:
            session.add_all(Item(id=number, name=f"item {number}") for number in range(ITEMS))
            session.commit()
        async with httpx.AsyncClient(base_url=os.environ["BENCH_UPSTREAM"]) as client:
            app.state.client = client
            yield
        app.state.engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/ready")
async def ready() -> dict[str, bool]:
    """Say that it is up."""
    return {"ready": True}


@app.get("/items/{number}")
async def read_item(number: int, request: Request) -> Offer:
    """Return an item and what it costs now."""
    with Session(request.app.state.engine) as session:
        item = session.get(Item, number)
        if item is None:
            raise HTTPException(404, "no such item")
        name = item.name
    price = (await request.app.state.client.get("/price")).json()["price"]
    return Offer(id=number, name=name, price=price)
