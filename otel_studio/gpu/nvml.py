"""NVML, the NVIDIA driver's library, through its Python bindings, its failures told apart."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import Any, Protocol

from otel_studio.base.text import safe_line

# Return codes of nvml.h (nvmlReturn_t). They are part of the library's binary interface, so they
# hold for every version of the bindings; the bindings' exception names do not.
SUCCESS = 0
UNINITIALIZED = 1
INVALID_ARGUMENT = 2
NOT_SUPPORTED = 3
NO_PERMISSION = 4
NOT_FOUND = 6
DRIVER_NOT_LOADED = 9
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
LIB_RM_VERSION_MISMATCH = 18
ARGUMENT_VERSION_MISMATCH = 25
DEPRECATED = 26
GPU_NOT_FOUND = 28
UNKNOWN = 999

#: The call will not work on this device for as long as this driver runs.
UNSUPPORTED_CODES = frozenset(
    {
        NOT_SUPPORTED,
        NO_PERMISSION,
        FUNCTION_NOT_FOUND,
        ARGUMENT_VERSION_MISMATCH,
        DEPRECATED,
    }
)
#: The device is gone, or of no use until it is reset; its handle must not be used again.
LOST_CODES = frozenset({GPU_IS_LOST, RESET_REQUIRED, GPU_NOT_FOUND})
#: The driver was unloaded, replaced or broke: the library has to be shut down and opened again.
DRIVER_GONE_CODES = frozenset({UNINITIALIZED, DRIVER_NOT_LOADED, LIB_RM_VERSION_MISMATCH, UNKNOWN})

PACKAGE_MISSING = "the package nvidia-ml-py is not installed: install otel-studio[gpu] to read GPUs"
LIBRARY_MISSING = "there is no NVIDIA driver here: its library libnvidia-ml was not found"
DRIVER_MISSING = "the NVIDIA driver is not loaded"
PERMISSION_MISSING = (
    "this process has no permission to use the NVIDIA driver: check /dev/nvidiactl and the devices"
)


class NvmlFailure(Exception):
    """A call of the library failed; `code` is what it returned."""

    def __init__(self, function: str, code: int, meaning: str) -> None:
        super().__init__(f"{function}: {meaning}")
        self.function = function
        self.code = code
        self.meaning = meaning


class NvmlUnavailable(Exception):
    """The library cannot be opened; `permanent` when trying again is of no use."""

    def __init__(self, reason: str, *, permanent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent


class Bindings(Protocol):
    """What is used of the module `pynvml` of the package nvidia-ml-py."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None:  # noqa: N802 - the library's name
        """Open the library, or count one more user of it."""

    def nvmlShutdown(self) -> None:  # noqa: N802 - the library's name
        """Count one user of the library less, and close it after the last."""


def load_bindings() -> Bindings:
    """Import the package nvidia-ml-py, which does not touch the driver yet.

    Raises:
        ImportError: if it is not installed.
    """
    bindings: Any = importlib.import_module("pynvml")
    return bindings  # type: ignore[no-any-return]


class Nvml:
    """One use of the library, from `open` to `close`.

    The library counts its users in the process, so that a host that uses NVML itself is not
    disturbed.

    Args:
        load: returns the bindings, or raises ImportError.
    """

    def __init__(self, load: Callable[[], Bindings] = load_bindings) -> None:
        self._load = load
        self._bindings: Bindings | None = None

    def open(self) -> None:
        """Load the bindings and open the library.

        Raises:
            NvmlUnavailable: if that does not work, with the reason in words.
        """
        try:
            bindings = self._load()
        except ImportError:
            raise NvmlUnavailable(PACKAGE_MISSING, permanent=True) from None
        try:
            bindings.nvmlInit()
        except bindings.NVMLError as error:
            code, meaning = _explain(error)
            reasons = {
                LIBRARY_NOT_FOUND: LIBRARY_MISSING,
                DRIVER_NOT_LOADED: DRIVER_MISSING,
                NO_PERMISSION: PERMISSION_MISSING,
            }
            reason = reasons.get(code, f"the NVIDIA driver does not start: {meaning}")
            raise NvmlUnavailable(reason, permanent=code == LIBRARY_NOT_FOUND) from None
        self._bindings = bindings

    def close(self) -> None:
        """Give the library back; a failure to do so is of no interest to anyone."""
        bindings, self._bindings = self._bindings, None
        if bindings is not None:
            with contextlib.suppress(Exception):
                bindings.nvmlShutdown()

    def call(self, function: str, *args: Any) -> Any:
        """Call a function of the library.

        Args:
            function: its name in the bindings.
            args: its arguments.

        Raises:
            NvmlFailure: if it fails, or the bindings or the library do not have it.
        """
        bindings = self._bindings
        if bindings is None:
            raise NvmlFailure(function, UNINITIALIZED, "the library is not open")
        bound = getattr(bindings, function, None)
        if bound is None:
            raise NvmlFailure(
                function, FUNCTION_NOT_FOUND, "the installed nvidia-ml-py does not have it"
            )
        try:
            return bound(*args)
        except bindings.NVMLError as error:
            code, meaning = _explain(error)
            raise NvmlFailure(function, code, meaning) from None
        except Exception as error:  # other bindings by the same name have other signatures
            raise NvmlFailure(
                function, ARGUMENT_VERSION_MISMATCH, f"{type(error).__name__}: {error}"
            ) from None


def text(value: str | bytes) -> str:
    """Return what a driver calls something as safe text; old bindings give bytes."""
    return safe_line(value.decode(errors="replace") if isinstance(value, bytes) else value)


def _explain(error: Exception) -> tuple[int, str]:
    code = int(getattr(error, "value", UNKNOWN))
    return code, f"{error} (NVML code {code})"
