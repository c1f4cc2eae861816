"""The table of previews: what was made of which clip, and what could not be."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, QueuePool, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    """What SQLAlchemy collects the tables in."""


class PreviewRow(Base):
    """One attempt to make a preview: `error` says why it failed, else there are `frames`."""

    __tablename__ = "previews"

    id: Mapped[int] = mapped_column(primary_key=True)
    clip_id: Mapped[str] = mapped_column(index=True)
    width: Mapped[int]
    made_at: Mapped[datetime]
    frames: Mapped[int | None]
    size: Mapped[int | None]
    error: Mapped[str | None]

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain values."""
        return {column.name: getattr(self, column.name) for column in self.__table__.columns}


def open_database(path: Path) -> Engine:
    """Return an engine on a SQLite file, made with its table when it is missing."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, check_same_thread=False)

    # The URL names no file because the SQLAlchemy instrumentation puts that name into the
    # operation's: `SELECT` groups better than `SELECT` and the path of a temporary folder.
    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)
    Base.metadata.create_all(engine)
    return engine


class PreviewStore:
    """Writes and reads the table of previews.

    Args:
        engine: from `open_database`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def save_preview(self, clip_id: str, width: int, frames: int, size: int) -> None:
        """Note that a preview was made.

        Args:
            clip_id: of which clip.
            width: in pixels.
            frames: how many it has.
            size: of the file, in bytes.
        """
        self._save(PreviewRow(clip_id=clip_id, width=width, frames=frames, size=size))

    def save_failure(self, clip_id: str, width: int, error: str) -> None:
        """Note that a preview could not be made.

        Args:
            clip_id: of which clip.
            width: in pixels.
            error: why, in words.
        """
        self._save(PreviewRow(clip_id=clip_id, width=width, error=error))

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Return the last rows, the newest first.

        Args:
            limit: how many at most.
        """
        with Session(self._engine) as session:
            newest_first = select(PreviewRow).order_by(PreviewRow.id.desc()).limit(limit)
            return [row.to_dict() for row in session.scalars(newest_first)]

    def _save(self, row: PreviewRow) -> None:
        row.made_at = datetime.now(UTC)
        with Session(self._engine) as session, session.begin():
            session.add(row)
