"""The HTTP session of the OTLP exporter: it reads the environment once, not per request."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import requests
from requests.utils import get_netrc_auth


class OTLPSession(requests.Session):
    """A session that remembers proxies, CA bundle and .netrc of the one URL it is used for.

    Looking these up takes `requests` 0.4 ms per request, as much as sending a batch does. What
    they say is what it would find itself; the environment is read at the first request.
    """

    def __init__(self) -> None:
        super().__init__()
        self._remembered: dict[Hashable, dict[str, Any]] = {}
        self._netrc_read = False

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """Return the settings for a URL, from the first time they were asked for."""
        if proxies:
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        key = (url, stream, verify, cert)
        found = self._remembered.get(key)
        if found is None:
            found = super().merge_environment_settings(url, proxies, stream, verify, cert)
            self._remembered[key] = found
        return dict(found)

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Return the request as it is sent, with the login of .netrc where there is one."""
        if not self._netrc_read:
            self._netrc_read = True
            login = get_netrc_auth(request.url or "") if self.trust_env else None
            # Where there is none, an auth that does nothing keeps `requests` from looking again.
            self.auth = login or _leave_alone
        return super().prepare_request(request)


def _leave_alone(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
