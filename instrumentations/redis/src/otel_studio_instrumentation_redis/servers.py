"""The Redis servers that the program talks to: a recorder each, and what their `INFO` says."""

from __future__ import annotations

import inspect
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import redis
import redis.asyncio
from opentelemetry.instrumentation.utils import suppress_instrumentation

from otel_studio.instrumentation import (
    Cache,
    CacheReading,
    new_lock,
    report_internal_error,
    warn_once,
)

SERVICE = "redis"

#: Users who may not ask, and ways to connect, that are remembered.
_MOST_REMEMBERED = 1_000

_SCALARS = (str, bytes, bool, int, float, type(None))

#: Seconds for a server to answer when it is asked for its figures.
_TIMEOUT = 2.0

#: What a connection of our own takes over from the program's.
_TAKEN_OVER = ("host", "port", "path", "username", "password", "credential_provider")

#: The connections of redis-py itself, and how we connect in their place. A class of the program's
#: own (a tunnel, a fake) knows by itself where its server is, whatever host and port it names.
_KINDS: dict[type, type] = {
    redis.Connection: redis.Connection,
    redis.SSLConnection: redis.SSLConnection,
    redis.UnixDomainSocketConnection: redis.UnixDomainSocketConnection,
    redis.asyncio.Connection: redis.Connection,
    redis.asyncio.SSLConnection: redis.SSLConnection,
    redis.asyncio.UnixDomainSocketConnection: redis.UnixDomainSocketConnection,
}


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
        self._watches: dict[str, Watch] = {}
        self._own_ways = OwnWays()
        #: Servers, with the users who may not ask them.
        self._refused: dict[tuple[str, str], None] = {}
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
            owner = _owner(client)
            return self._recorders.get(owner) or self._begin(owner)
        except Exception as error:
            report_internal_error("following a Redis client", error)
            return None

    def _begin(self, owner: Any) -> Cache:
        with self._lock:
            name = self._own_ways.name(owner)
            recorder: Cache = self._source.cache(name, service=SERVICE)
            watch = self._watches.get(name)
            asking = name, _user(owner)
            if asking not in self._refused and (watch is None or not watch.add(owner)):
                watch = self._watches[name] = Watch(
                    owner, lambda: self._on, lambda: self._refuse(asking)
                )
                recorder.attach(watch.read, remote=True, from_now=True)
            self._recorders[owner] = recorder
            return recorder

    def _refuse(self, asking: tuple[str, str]) -> None:
        if len(self._refused) >= _MOST_REMEMBERED:
            self._refused.pop(next(iter(self._refused)))
        self._refused[asking] = None


class OwnWays:
    """Names the servers of clients; those with a connection class of their own one by one.

    Such a class knows where its server is by more than host and port: two classes of one name, and
    two pools that give one class different arguments, are two servers.
    """

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[type, dict[Any, str]] = weakref.WeakKeyDictionary()
        self._numbers: Counter[str] = Counter()

    def name(self, owner: Any) -> str:
        """Return the name of an owner's server.

        Args:
            owner: what holds the connections of a client of the program.
        """
        address = _name(owner)
        kind = None if _manager(owner) is not None else owner.connection_class
        if kind is None or kind in _KINDS or getattr(owner, "service_name", None) is not None:
            return address
        told = frozenset(
            (name, value if isinstance(value, _SCALARS) else id(value))
            for name, value in owner.connection_kwargs.items()
        )
        names = self._known.setdefault(kind, {})
        found = names.get(told)
        if found is None:
            found = f"{address} ({kind.__name__})"
            self._numbers[found] += 1
            if self._numbers[found] > 1:
                found = f"{found[:-1]} {self._numbers[found]})"
            if len(names) < _MOST_REMEMBERED:
                names[told] = found
        return found


class Watch:
    """Asks one server, or the primaries of a cluster, over a connection of its own.

    Args:
        owner: what holds the connections of a client of the program.
        is_on: whether to go on.
        refused: called when the server does not let this user ask.
    """

    def __init__(self, owner: Any, is_on: Callable[[], bool], refused: Callable[[], None]) -> None:
        self._owners: weakref.WeakSet[Any] = weakref.WeakSet([owner])
        self._is_on = is_on
        self._refused = refused
        self._asking = new_lock()
        self._connections: dict[str, redis.Redis] = {}
        self._gone = False

    def add(self, owner: Any) -> bool:
        """Take in a further client of the same server; `False` when this has ended.

        Args:
            owner: what holds its connections.
        """
        self._owners.add(owner)
        return not self._gone

    def read(self) -> CacheReading | None:
        """Return the server's figures; none while it does not answer, `None` for good."""
        if self._asking.is_held_here():
            return CacheReading()  # inside of a question, whose reply is still to come
        with self._asking:
            owner = next(iter(self._owners), None)
            try:
                if owner is not None and self._is_on():
                    with suppress_instrumentation():
                        addresses = _addresses(owner)
                        self._close(addresses)
                        return _reading([self._info(*item) for item in addresses.items()])
            except redis.ResponseError as error:
                self._refused()
                warn_once(
                    "redis",
                    f"INFO of {_name(owner)}",
                    "the Redis server %s does not answer INFO (%s): its entries, memory and "
                    "evictions are left out; let its user run INFO to have them",
                    _name(owner),
                    error,
                )
            except (redis.RedisError, OSError):
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


def _owner(client: Any) -> Any:
    """Return what stands for a client for as long as it lives, shared by its pipelines."""
    pool = getattr(client, "connection_pool", None)
    if pool is not None:
        return pool
    # asyncio's cluster pipeline knows its client; the sync one shares the nodes' manager.
    cluster = getattr(client, "cluster_client", None) or getattr(client, "_client", None)
    if cluster is not None:
        return cluster
    manager = client.nodes_manager
    return manager if hasattr(manager, "__weakref__") else client


def _manager(owner: Any) -> Any:
    """Return the manager of a cluster's nodes; `None` for a single server."""
    if hasattr(owner, "connection_class"):
        return None
    return getattr(owner, "nodes_manager", owner)


def _name(owner: Any) -> str:
    manager = _manager(owner)
    if manager is not None:
        nodes = manager.startup_nodes
        return str(min(nodes)) if nodes else SERVICE
    arguments = owner.connection_kwargs
    master = getattr(owner, "service_name", None)  # found by Sentinel
    if master is not None:
        return str(master)
    if "path" in arguments:
        return str(arguments["path"])
    return f"{arguments.get('host', 'localhost')}:{arguments.get('port', 6379)}"


def _user(owner: Any) -> str:
    """Return who asks: other credentials may be allowed what these are not."""
    manager = _manager(owner)
    arguments = owner.connection_kwargs if manager is None else manager.connection_kwargs
    provider = arguments.get("credential_provider")
    if provider is not None:  # asking it for a name may cost a token
        return f"{type(provider).__module__}.{type(provider).__qualname__}"
    return str(arguments.get("username") or "default")


def _addresses(owner: Any) -> dict[str, dict[str, Any]]:
    """Return how to connect to each server: by address, the arguments of a sync connection."""
    manager = _manager(owner)
    if manager is None:
        if getattr(owner, "service_name", None) is not None:
            return {}  # only Sentinel knows where the master is by now
        arguments = _connection(owner.connection_class, owner.connection_kwargs)
        return {} if arguments is None else {_name(owner): arguments}
    shared = manager.connection_kwargs
    kind = shared.get("connection_class") or (
        redis.SSLConnection if shared.get("ssl") else redis.Connection
    )
    arguments = _connection(kind, shared)
    if arguments is None:
        return {}
    return {
        str(node.name): {**arguments, "host": node.host, "port": node.port}
        for node in manager.get_nodes_by_server_type("primary")
    }


def _connection(kind: type, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how to connect as a client does; `None` where we cannot."""
    ours = {"socket_timeout": _TIMEOUT, "decode_responses": True}
    sync = _KINDS.get(kind)
    if sync is None:
        if inspect.iscoroutinefunction(kind.connect):  # type: ignore[attr-defined]
            return None  # of the program's own, and we have no event loop to use it in
        return {**arguments, **ours, "connection_class": kind}
    taken = {name: arguments[name] for name in _TAKEN_OVER if arguments.get(name) is not None}
    if sync is redis.SSLConnection:
        taken.update((k, v) for k, v in arguments.items() if k.startswith("ssl_"))
    return {**taken, **ours, "connection_class": sync}


def _reading(infos: list[Mapping[str, Any]]) -> CacheReading:
    """Return the figures of all servers: sums, and the highest fragmentation."""
    if not infos or not all("redis_version" in info for info in infos):
        return CacheReading()  # a proxy may answer something else
    keys = [
        database["keys"]
        for info in infos
        for name, database in info.items()
        if name.startswith("db") and isinstance(database, dict) and "keys" in database
    ]
    evictions = {
        reason: total
        for reason, field in (("size", "evicted_keys"), ("expired", "expired_keys"))
        if (total := _total(infos, field)) is not None
    }
    fragmentations = [share for info in infos if (share := _unused_share(info)) is not None]
    return CacheReading(
        entries=sum(keys),
        memory_bytes=_total(infos, "used_memory"),
        fragmentation=max(fragmentations, default=None),
        evictions=evictions,
    )


def _unused_share(info: Mapping[str, Any]) -> float | None:
    """Return how much of the memory that a server holds it does not use, 0 to 1.

    Right after its start a server has allocated more than it holds: none is unused then.
    """
    used, held = info.get("used_memory"), info.get("used_memory_rss")
    if used is None or not held:
        return None
    return max(0.0, 1 - int(used) / int(held))


def _total(infos: list[Mapping[str, Any]], field: str) -> int | None:
    values = [int(info[field]) for info in infos if field in info]
    return sum(values) if values else None
