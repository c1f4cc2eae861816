"""Has the documentation show a docstring's `Example:` as code (a Griffe extension).

Griffe knows the plural only, and takes the singular for a paragraph of text.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object


class ExampleSections(Extension):
    """Turns each `Example:` into the section that Griffe knows."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", obj.docstring.value)
