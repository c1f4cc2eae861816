"""The entry points through which `opentelemetry-instrument` starts OTel Studio without code."""

from __future__ import annotations

import os
from typing import Any

# Its file tells type checkers to look away.
from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]

_NAME = "otel_studio"


class StudioDistro(BaseDistro):  # type: ignore[misc]
    """Says that this distribution's configurator is the one to run, and asks for no exporter.

    Where another distribution is installed too, `OTEL_PYTHON_DISTRO=otel_studio` chooses this one.
    """

    def _configure(self, **kwargs: Any) -> None:
        os.environ.setdefault("OTEL_PYTHON_CONFIGURATOR", _NAME)

    def load_instrumentor(self, entry_point: Any, **kwargs: Any) -> None:
        """Load one instrumentation package; that of `logging` without its handler.

        On the root logger it would silence the console of a program that configures no logging,
        and what it hands on is sent by us.

        Args:
            entry_point: the package's.
            **kwargs: what its instrumentor takes.
        """
        if entry_point.name == "logging":
            kwargs.setdefault("enable_log_auto_instrumentation", False)
        super().load_instrumentor(entry_point, **kwargs)


class StudioConfigurator:
    """Configures OTel Studio from the environment and pyproject.toml."""

    def configure(self, **kwargs: Any) -> None:
        """Call `otel_studio.configure()`.

        Args:
            **kwargs: what OpenTelemetry tells every configurator; nothing of it is needed.
        """
        import otel_studio

        otel_studio.configure()
