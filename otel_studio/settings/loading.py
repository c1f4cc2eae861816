"""Loads the settings: keyword, variable, `[tool.otel_studio]` in pyproject.toml, default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_studio.base.guard import warn_once
from otel_studio.settings.table import (
    PLAIN_SAMPLERS,
    RATIO_SAMPLERS,
    ROWS,
    Settings,
    SettingsKeywords,
    variable_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ConfigurationError", "Settings", "SettingsKeywords", "load_settings"]

_KEYWORD, _VARIABLE, _FILE, _DEFAULT = range(4)
_SHOWN_CHARACTERS = 80


class ConfigurationError(ValueError):
    """A keyword that is not a setting, or a value that a setting cannot take."""


def load_settings(
    environ: Mapping[str, str] | None = None,
    directory: str | os.PathLike[str] | None = None,
    **keywords: Any,
) -> Settings:
    """Return the settings out of keywords, the environment and pyproject.toml.

    A keyword goes before the variable, the variable before the file, the file before
    the default. A keyword that is `None` says nothing. A value in the environment or
    the file that cannot be used is warned of once and left out.

    Args:
        environ: the environment variables; those of the process when not given.
        directory: where the search for a pyproject.toml with a table
            `[tool.otel_studio]` begins, upwards; the working directory when not given.
        **keywords: settings by name.

    Raises:
        ConfigurationError: for a keyword that is no setting, or its unusable value.

    Example:
        >>> load_settings({"OTEL_SERVICE_NAME": "media-backend"}, log_rate=5).service_name
        'media-backend'
    """
    given = checked_keywords(keywords)
    environ = os.environ if environ is None else environ
    return _Loading(given, environ, _file_table(directory)).settings()


def checked_keywords(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the settings that keywords give, each checked by itself.

    Args:
        keywords: settings by name; one that is `None` says nothing.

    Raises:
        ConfigurationError: for a keyword that is no setting, or its unusable value.

    Example:
        >>> checked_keywords({"traces_exporter": "otlp", "log_rate": None})
        {'traces_exporter': ('otlp',)}
    """
    for name in keywords:
        if name not in ROWS:
            raise ConfigurationError(_unknown(name, name, ROWS))
    checked: dict[str, Any] = {}
    for name, raw in keywords.items():
        if raw is None:
            continue
        kind = ROWS[name].kind
        try:
            checked[name] = kind.check(raw)
        except Exception:  # whatever an odd value's own methods raise
            raise ConfigurationError(
                f"{name}={_shown(raw)} cannot be used: give {kind.expected}."
            ) from None
    return checked


class _Loading:
    """One pass over the table, with the source that each value came from."""

    def __init__(
        self,
        keywords: Mapping[str, Any],
        environ: Mapping[str, str],
        file: tuple[Path | None, Mapping[str, Any]],
    ) -> None:
        self._keywords = keywords
        self._environ = environ
        self._path, self._file = file
        self._sources: dict[str, int] = {}
        self._values: dict[str, Any] = {}
        self._warn_of_unknown_names()

    def settings(self) -> Settings:
        defaults = Settings()
        for name, row in ROWS.items():
            default = getattr(defaults, name)
            if row.falls_back_to is not None:
                default = self._values[row.falls_back_to]
            self._resolve(name, default)
        self._take_service_name_from_resource()
        self._check_sampler_arg()
        self._check_batch_size()
        return Settings(**self._values)

    def _resolve(self, name: str, default: Any) -> None:
        """Find the value of one setting; mappings add up, the rest is the first source's."""
        found: list[tuple[int, Any]] = []
        rejected: list[int] = []
        for source in (_KEYWORD, _VARIABLE, _FILE):
            raw = self._raw(name, source)
            if raw is None or (found and not isinstance(default, dict)):
                continue
            if source == _KEYWORD:  # checked already
                found.append((source, raw))
                continue
            kind = ROWS[name].kind
            try:
                value = kind.from_text(raw) if source == _VARIABLE else kind.check(raw)
            except Exception:  # whatever an odd value's own methods raise
                rejected.append(source)
            else:
                found.append((source, value))
        self._sources[name], self._values[name] = found[0] if found else (_DEFAULT, default)
        if isinstance(default, dict):
            self._values[name] = {k: v for _, value in reversed(found) for k, v in value.items()}
        for source in rejected:
            self._complain(name, source)

    def _raw(self, name: str, source: int) -> Any:
        if source == _KEYWORD:
            return self._keywords.get(name)
        if source == _VARIABLE:
            return self._environ.get(variable_of(name), "").strip() or None
        return self._file.get(name)

    def _complain(self, name: str, source: int, expected: str | None = None) -> None:
        """Raise for a keyword; for the rest say once what was wrong and what is used instead."""
        raw = self._raw(name, source)
        kind = ROWS[name].kind
        expected = expected or kind.expected
        if source == _KEYWORD:
            where = f"{name}={_shown(raw)}"
        elif source == _VARIABLE:
            where = f"{variable_of(name)}={_shown(raw)}"
            expected = getattr(kind, "expected_in_variable", expected)
        else:
            where = f"{name} = {_shown(raw)} in {self._path}"
        complaint = f"{where} cannot be used: give {expected}"
        if source == _KEYWORD:
            raise ConfigurationError(f"{complaint}.")
        _say(f"{complaint}; {_shown(self._values[name])} is used.")

    def _take_service_name_from_resource(self) -> None:
        """`service.name` among the attributes counts where its source goes before."""
        name = self._values["resource_attributes"].get("service.name")
        if name and self._sources["resource_attributes"] < self._sources["service_name"]:
            self._values["service_name"] = str(name)

    def _check_sampler_arg(self) -> None:
        sampler, argument = self._values["sampler"], self._values["sampler_arg"]
        if argument is None:
            return
        if sampler in RATIO_SAMPLERS:
            if isinstance(argument, str) or not 0 <= argument <= 1:
                self._values["sampler_arg"] = 1.0
                self._complain_of_value("sampler_arg", f"a number from 0 to 1 for {sampler}")
        elif sampler in PLAIN_SAMPLERS:
            self._values["sampler_arg"] = None
            samplers = " or ".join(RATIO_SAMPLERS)
            self._complain_of_value("sampler_arg", f"it together with sampler {samplers}")

    def _check_batch_size(self) -> None:
        if self._values["export_batch_size"] > (queue := self._values["export_queue_size"]):
            self._values["export_batch_size"] = queue
            if self._sources["export_batch_size"] != _DEFAULT:
                self._complain_of_value(
                    "export_batch_size", f"no more than export_queue_size, which is {queue}"
                )

    def _complain_of_value(self, name: str, expected: str) -> None:
        """Complain of a value that does not go with another setting."""
        self._complain(name, self._sources[name], expected)

    def _warn_of_unknown_names(self) -> None:
        for name in self._file:
            if name not in ROWS:
                _say(_unknown(f"{name} in {self._path}", name, ROWS))
        variables = {variable_of(name) for name in ROWS}
        for name in self._environ:  # other packages may have variables of that prefix too
            if not name.startswith("OTEL_STUDIO_") or name in variables:
                continue
            if _near(name, variables, 0.85):
                _say(_unknown(f"The variable {name}", name, variables))


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    near = _near(name, known, 0.7)
    return f"{what} is not a setting" + (f"; did you mean {' or '.join(near)}?" if near else ".")


def _near(name: str, known: Iterable[str], at_least: float) -> list[str]:
    from difflib import get_close_matches  # only a slip of the user's needs it

    return get_close_matches(name, known, n=2, cutoff=at_least)


def _say(sentence: str) -> None:
    warn_once("setting", sentence, "%s", sentence)


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _file_table(
    directory: str | os.PathLike[str] | None,
) -> tuple[Path | None, Mapping[str, Any]]:
    """Return the nearest pyproject.toml with our table, and the table."""
    try:
        start = Path.cwd() if directory is None else Path(directory).absolute()
    except OSError:  # the working directory was deleted
        return None, {}
    for folder in (start, *start.parents):
        path = folder / "pyproject.toml"
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if b"otel_studio" not in content:  # spares most programs the parser's import
            continue
        import tomllib

        try:
            table = tomllib.loads(content.decode())["tool"]["otel_studio"]
        except (KeyError, TypeError):
            continue
        except (ValueError, RecursionError) as error:
            _say(f"{path} cannot be read: give valid TOML ({error}); it is left out.")
            continue
        if isinstance(table, dict):
            return path, table
    return None, {}
