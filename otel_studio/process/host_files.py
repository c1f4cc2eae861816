"""Reads the kernel's text files below a root that tests can replace; unreadable is `None`."""

from __future__ import annotations

import os

#: Larger files are cut here: nothing that this room reads comes near it.
_MAX_BYTES = 4 * 1024 * 1024


class HostFiles:
    """The files of `/proc` and `/sys`.

    Args:
        root: what stands for `/`; a directory with its own `proc` and `sys` in tests.

    Example:
        >>> HostFiles().text("/proc/no-such-file") is None
        True
    """

    def __init__(self, root: str = "/") -> None:
        self._root = root.rstrip("/")

    def path(self, name: str) -> str:
        """Return where an absolute name lies below the root."""
        return self._root + name

    def text(self, name: str) -> str | None:
        """Return a file's text, or `None` when it cannot be read."""
        try:
            descriptor = os.open(self.path(name), os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            try:
                chunks = []
                left = _MAX_BYTES
                while left > 0 and (chunk := os.read(descriptor, min(left, 65_536))):
                    chunks.append(chunk)
                    left -= len(chunk)
            finally:
                os.close(descriptor)
        except OSError:
            return None
        return b"".join(chunks).decode("utf-8", "replace")

    def number(self, name: str) -> int | None:
        """Return a file's single whole number, or `None` when there is none."""
        text = self.text(name)
        try:
            return None if text is None else int(text)
        except ValueError:
            return None

    def table(self, name: str) -> dict[str, int]:
        """Return a file of `key value` or `key: value kB` lines, `kB` turned into bytes.

        Lines of another shape are left out; an unreadable file is an empty table.
        """
        rows: dict[str, int] = {}
        for line in (self.text(name) or "").splitlines():
            words = line.split()
            if len(words) < 2:
                continue
            try:
                value = int(words[1])
            except ValueError:
                continue
            if len(words) > 2 and words[2] == "kB":
                value *= 1024
            rows[words[0].rstrip(":")] = value
        return rows

    def open_descriptors(self) -> int | None:
        """Return how many descriptors this process has open, or `None` when nothing tells."""
        for name in ("/proc/self/fd", "/dev/fd"):
            path = self.path(name)
            try:
                # Linux 6.2 and later give the count as the directory's size, at no cost;
                # elsewhere listing opens one descriptor, which the listing then includes.
                size = os.stat(path).st_size if self._root == "" and name.startswith("/proc") else 0
                return size or len(os.listdir(path)) - 1
            except OSError:
                continue
        return None
