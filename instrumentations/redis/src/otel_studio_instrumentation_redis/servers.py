"""The Redis servers that the program talks to: a recorder each, and what their `INFO` says."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import redis
from opentelemetry.instrumentation.utils import suppress_instrumentation

from otel_studio.instrumentation import (
    Cache,
    CacheReading,
    new_lock,
    report_internal_error,
    warn_once,
)

from .figures import reading_of
from .ways import (
    KINDS,
    SERVICE,
    Way,
    Ways,
    arguments_of,
    is_of_sentinel,
    kind_of,
    manager_of,
    owner_of,
    user_of,
)

#: Seconds for a server to answer when it is asked for its figures.
_TIMEOUT = 2.0

#: Users whom a server refuses before it is asked as nobody else.
_MAX_REFUSED = 100

#: What a connection of our own takes over from the program's.
_TAKEN_OVER = ("host", "port", "path", "username", "password", "credential_provider")


class Caches(Protocol):
    """What recorders come from: `otel_studio` itself, or a `CacheRegistry`."""

    def cache(self, name: str, service: str = ...) -> Any:
        """Return the cache of a name."""


class Servers:
    """Finds the recorder of a client: all clients of one server, or cluster, share it.

    Args:
        source: where recorders come from.
    """

    def __init__(self, source: Caches) -> None:
        self._source = source
        self._lock = new_lock()
        self._recorders: weakref.WeakKeyDictionary[Any, Cache] = weakref.WeakKeyDictionary()
        self._ways = Ways()
        self._watches: weakref.WeakKeyDictionary[Way, Watch] = weakref.WeakKeyDictionary()
        self._on = True

    def stop(self) -> None:
        """Ask the servers no more, and close what they were asked over."""
        self._on = False
        with self._lock:
            for watch in self._watches.values():
                watch.close_if_idle()

    def recorder(self, client: Any) -> Cache | None:
        """Return a client's recorder; `None` where none could be made.

        Args:
            client: a client or pipeline, of a server or a cluster, sync or asyncio.
        """
        try:
            owner = owner_of(client)
            return self._recorders.get(owner) or self._begin(owner)
        except Exception as error:
            report_internal_error("following a Redis client", error)
            return None

    def _begin(self, owner: Any) -> Cache:
        with self._lock:
            way = self._ways.of(owner)
            recorder: Cache = self._source.cache(way.name, service=SERVICE)
            watch = self._watches.get(way)
            if way.is_one and (watch is None or not watch.add(owner)):
                watch = self._watches[way] = Watch(way.name, owner, lambda: self._on)
                recorder.attach(watch.read, remote=True, from_now=True)
            self._recorders[owner] = recorder
            return recorder


class Watch:
    """Asks one server, or the primaries of a cluster, over a connection of its own.

    It ends when nobody of the program talks to the server any more. Until then it asks as none
    of those whom the server has refused; what comes to its place may be another, and is asked.

    Args:
        name: what the server is called.
        owner: what holds the connections of a client of the program.
        is_on: whether to go on.
    """

    def __init__(self, name: str, owner: Any, is_on: Callable[[], bool]) -> None:
        self._name = name
        # As a dict, which can be read in one step while an interruption adds a client.
        self._owners: weakref.WeakKeyDictionary[Any, None] = weakref.WeakKeyDictionary()
        self._owners[owner] = None
        self._refused: set[str] = set()
        self._is_on = is_on
        self._asking = new_lock()
        self._connections: dict[str, redis.Redis] = {}
        self._gone = False

    def add(self, owner: Any) -> bool:
        """Take in a further client of the same server; `False` when this has ended.

        Args:
            owner: what holds its connections.
        """
        self._owners[owner] = None
        return not self._gone

    def read(self) -> CacheReading | None:
        """Return the server's figures; none while it does not answer, `None` for good."""
        if self._asking.is_held_here():
            return CacheReading()  # inside of a question, whose reply is still to come
        with self._asking:
            references = self._owners.keyrefs() if self._is_on() else []
            owners = [owner for each in references if (owner := each()) is not None]
            for owner in owners:
                user = user_of(owner)
                if user in self._refused or len(self._refused) >= _MAX_REFUSED:
                    continue
                try:
                    with suppress_instrumentation():
                        return self._ask(owner)
                except redis.ResponseError as error:
                    self._refuse(user, error)
                except (redis.RedisError, OSError):
                    break
            if owners:
                return CacheReading()
            self._gone = True
            self._close(())
            return None

    def close_if_idle(self) -> None:
        """Close the connections, unless a question is under way: the next one closes them."""
        if self._asking.acquire(blocking=False):
            try:
                self._close(())
            finally:
                self._asking.release()

    def _ask(self, owner: Any) -> CacheReading:
        addresses = _addresses(owner, self._name)
        self._close(addresses)
        return reading_of([self._info(*item) for item in addresses.items()])

    def _refuse(self, user: str, error: Exception) -> None:
        self._refused.add(user)
        self._close(())  # the next one asks as himself
        warn_once(
            "redis",
            f"INFO of {self._name}",
            "the Redis server %s does not answer INFO (%s): its entries, memory and "
            "evictions are left out; let its user run INFO to have them",
            self._name,
            str(error),  # who keeps the record keeps no client by it
        )

    def _info(self, address: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        connection = self._connections.get(address)
        if connection is None:
            pool = redis.ConnectionPool(max_connections=1, **arguments)
            connection = self._connections[address] = redis.Redis(connection_pool=pool)
        found: Mapping[str, Any] = connection.info()
        return found

    def _close(self, but: Iterable[str]) -> None:
        for address in set(self._connections) - set(but):
            self._connections.pop(address).connection_pool.disconnect()


def _addresses(owner: Any, name: str) -> dict[str, dict[str, Any]]:
    """Return how to connect to each server: by address, the arguments of a sync connection."""
    if is_of_sentinel(owner):
        return {}
    arguments = _connection(kind_of(owner), arguments_of(owner))
    if arguments is None:
        return {}
    manager = manager_of(owner)
    if manager is None:
        return {name: arguments}
    return {
        str(node.name): {**arguments, "host": node.host, "port": node.port}
        for node in manager.get_nodes_by_server_type("primary")
    }


def _connection(kind: type, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how to connect as a client does; `None` where we cannot."""
    ours = {"socket_timeout": _TIMEOUT, "decode_responses": True}
    sync = KINDS.get(kind)
    if sync is None:
        if inspect.iscoroutinefunction(kind.connect):  # type: ignore[attr-defined]
            return None  # of the program's own, and we have no event loop to use it in
        return {**arguments, **ours, "connection_class": kind}
    taken = {name: arguments[name] for name in _TAKEN_OVER if arguments.get(name) is not None}
    if sync is redis.SSLConnection:
        taken.update((k, v) for k, v in arguments.items() if k.startswith("ssl_"))
    return {**taken, **ours, "connection_class": sync}
