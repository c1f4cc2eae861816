"""Which operations are left out of everything, by the patterns of a setting."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import Final

#: Operations whose answer is remembered; past it each is looked at again.
_MAX_REMEMBERED: Final = 10_000


class IgnoredOperations:
    """Leaves out the operations that a pattern names.

    Args:
        patterns: of an operation's name, or of `service/operation`; `*` stands for any text.

    Example:
        >>> ignored = IgnoredOperations(["* http send"])
        >>> ignored.leaves_out("asgi", "GET /clips http send")
        True
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        wanted = [fnmatch.translate(pattern) for pattern in patterns]
        self._pattern = re.compile("|".join(wanted)) if wanted else None
        self._known: dict[tuple[str, str], bool] = {}

    def leaves_out(self, service: str, operation: str) -> bool:
        """Tell whether an operation's runs are ignored."""
        pattern = self._pattern
        if pattern is None:
            return False
        key = (service, operation)
        found = self._known.get(key)
        if found is None:
            found = bool(pattern.match(operation) or pattern.match(f"{service}/{operation}"))
            if len(self._known) < _MAX_REMEMBERED:
                self._known[key] = found
        return found
