"""A paced load: requests at fixed times over one connection that is kept."""

from __future__ import annotations

import http.client
import time

#: Items of the service, read in turns.
ITEMS = 100
#: How far behind its times a load may end before it is no paced load any more.
_BEHIND_SECONDS = 0.5


def send(port: int, *, requests: int, rate: float) -> None:
    """Send requests to the service, each at its time.

    Args:
        port: of the service on this machine.
        requests: how many.
        rate: of them in a second.

    Raises:
        RuntimeError: if an answer is not 200, or the service cannot keep the rate.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    due = time.perf_counter()
    for number in range(requests):
        time.sleep(max(due - time.perf_counter(), 0))
        connection.request("GET", f"/items/{number % ITEMS}")
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the service answered {answer.status}: {body[:200]!r}")
        due += 1 / rate
    connection.close()
    behind = time.perf_counter() - due
    if behind > _BEHIND_SECONDS:
        raise RuntimeError(f"the service cannot keep {rate:g} requests/s: {behind:.1f} s behind")
