"""A real Prometheus for tests: scrapes the given targets every second and answers PromQL."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from child_process import ChildProcess, answers, http_get
from parts import free_port, need


def promtool_says(text: str) -> list[str]:
    """Return the lines in which `promtool check metrics` finds fault with an exposition.

    Args:
        text: as `/metrics` answers.
    """
    checked = subprocess.run(
        [need("promtool"), "check", "metrics"],
        input=text,
        text=True,
        capture_output=True,
        check=False,
    )
    return checked.stderr.splitlines()


@dataclass(frozen=True)
class Sample:
    """One series of an instant query's answer."""

    labels: dict[str, str]
    value: float


class Prometheus(ChildProcess):
    """A Prometheus server; a context manager.

    Args:
        folder: an empty folder of the test's own (`tmp_path / "prometheus"`).
        targets: what to scrape, each `host:port`.
        metrics_path: where the targets serve their metrics.
        rule_files: files with recording and alerting rules, evaluated every second.
        scrape_interval: seconds, a whole number.

    Example:
        >>> with Prometheus(tmp_path, [f"127.0.0.1:{port}"]) as prometheus:  # doctest: +SKIP
        ...     wait_until(lambda: prometheus.value("up") == 1)
    """

    def __init__(
        self,
        folder: Path,
        targets: Sequence[str],
        *,
        metrics_path: str = "/metrics",
        rule_files: Sequence[Path] = (),
        scrape_interval: int = 1,
    ) -> None:
        super().__init__(folder, "prometheus")
        self._program = need("prometheus")
        self._targets = list(targets)
        self._metrics_path = metrics_path
        self._rule_files = list(rule_files)
        self._interval = scrape_interval
        self.choose_ports()

    def choose_ports(self) -> None:
        """Take a free port."""
        self.port = free_port()

    @property
    def url(self) -> str:
        """The base address of its pages and API."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str | Path]:
        """Write the configuration and return the command line."""
        config = {
            "global": {
                "scrape_interval": f"{self._interval}s",
                "evaluation_interval": f"{self._interval}s",
            },
            "rule_files": [str(file) for file in self._rule_files],
            "scrape_configs": [
                {
                    "job_name": "test",
                    "metrics_path": self._metrics_path,
                    "static_configs": [{"targets": self._targets}],
                }
            ],
        }
        file = self.folder / "prometheus.json"  # YAML is a superset of JSON
        file.write_text(json.dumps(config, indent=2))
        return [
            self._program,
            f"--config.file={file}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    def is_ready(self) -> bool:
        """Return whether it answers queries."""
        return answers(self.port, "/-/ready")

    def query(self, promql: str, at: float | None = None) -> list[Sample]:
        """Return the series that an instant query yields.

        Args:
            promql: the query.
            at: the evaluation time in seconds since the Unix epoch; `None` for now.

        Raises:
            AssertionError: if Prometheus refuses the query.
        """
        parameters: dict[str, str | float] = {"query": promql}
        if at is not None:
            parameters["time"] = at
        result = self.api("query", parameters)["result"]
        return [
            Sample(labels=series["metric"], value=float(series["value"][1])) for series in result
        ]

    def value(self, promql: str) -> float | None:
        """Return the number of a query that yields one series; `None` while it yields none.

        Args:
            promql: the query.

        Raises:
            AssertionError: if it yields more than one series.
        """
        samples = self.query(promql)
        assert len(samples) <= 1, f"{promql} yields {len(samples)} series: {samples}"
        return samples[0].value if samples else None

    def api(self, endpoint: str, parameters: dict[str, str | float] | None = None) -> Any:
        """Return the `data` of an endpoint below `/api/v1/`.

        Args:
            endpoint: such as "targets" or "rules".
            parameters: the query's parameters.

        Raises:
            AssertionError: if the answer is an error.
        """
        status, body = http_get(self.port, f"/api/v1/{endpoint}", parameters)
        assert status == 200, f"Prometheus answers {status} to {endpoint}: {body}"
        return json.loads(body)["data"]
