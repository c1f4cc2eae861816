"""The registry and all instruments in Prometheus' formats, as text and on `/metrics`.

Instruments come through OpenTelemetry's own Prometheus reader; the registry's metrics are
written by `RegistryText`, under the same names.
"""

from __future__ import annotations

from typing import Any

from otel_studio.base.figures import one_collection
from otel_studio.exporters.prometheus.answer import Answer, answer
from otel_studio.exporters.prometheus.endpoint import Endpoint
from otel_studio.exporters.prometheus.text import RegistryText

_NEEDS = "Prometheus needs a package that is not installed: install otel-studio[prometheus]"
_EOF = "# EOF\n"


class PrometheusExporter:
    """The metric reader for Prometheus, and the endpoint that answers with what it reads.

    Args:
        operations: writes the registry's metrics.

    Raises:
        ImportError: if the extra `prometheus` is not installed.
    """

    def __init__(self, operations: RegistryText) -> None:
        try:
            from otel_studio.exporters.prometheus.reader import InstrumentText
        except ImportError as error:
            raise ImportError(_NEEDS) from error
        self._operations = operations
        self._instruments = InstrumentText()
        self._endpoint = Endpoint(self._answer)

    @property
    def reader(self) -> Any:
        """The metric reader, to be added to a provider."""
        return self._instruments.reader

    @property
    def address(self) -> str | None:
        """Where `/metrics` is served, `None` while it is not."""
        return self._endpoint.address

    def text(self, openmetrics: bool = False) -> str:
        """Return what `/metrics` answers now.

        Args:
            openmetrics: in the OpenMetrics format, whose buckets carry exemplars, instead of
                Prometheus' text format.
        """
        with one_collection():  # every room is read once for both
            instruments = self._instruments.text(openmetrics)
            parts = self._operations.parts(openmetrics)
        if openmetrics:
            return "".join((instruments.removesuffix(_EOF), *parts, _EOF))
        return "".join((instruments, *parts))

    def serve(self, host: str, port: int) -> bool:
        """Serve `/metrics`; a port that is in use is said and left alone.

        Args:
            host: the address to bind.
            port: 0 for any free one.

        Returns:
            whether it is served.
        """
        return self._endpoint.serve(host, port)

    def _answer(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        accept, encoding = headers.get("accept", ""), headers.get("accept-encoding", "")
        return answer(method, path, accept, encoding, self.text)

    def close(self) -> None:
        """Stop serving."""
        self._endpoint.close()

    def after_fork_in_child(self) -> None:
        """Leave the parent's endpoint alone in a forked child."""
        self._endpoint.after_fork_in_child()
