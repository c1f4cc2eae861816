"""The way of a client to its server: what tells it from others, and what it is called."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Mapping
from types import MethodType
from typing import Any

import redis
import redis.asyncio

#: What a server is called whose address is not known.
SERVICE = "redis"

#: Ways of the program's own to one address that are told apart; later ones share the last name.
_MAX_WAYS = 100

#: The connections of redis-py itself, and how we connect in their place. A class of the program's
#: own (a tunnel, a fake) knows by itself where its server is, whatever host and port it names.
KINDS: dict[type, type] = {
    redis.Connection: redis.Connection,
    redis.SSLConnection: redis.SSLConnection,
    redis.UnixDomainSocketConnection: redis.UnixDomainSocketConnection,
    redis.asyncio.Connection: redis.Connection,
    redis.asyncio.SSLConnection: redis.SSLConnection,
    redis.asyncio.UnixDomainSocketConnection: redis.UnixDomainSocketConnection,
}

#: Called so is what is too much to be told apart.
OTHER = "__other__"

#: Values that are the same when they are equal; others when they are one object.
_PLAIN = (str, bytes, int, float, bool, type(None))


def owner_of(client: Any) -> Any:
    """Return what stands for a client for as long as it lives, shared by its pipelines.

    Args:
        client: a client or pipeline, of a server or a cluster, sync or asyncio.
    """
    pool = getattr(client, "connection_pool", None)
    if pool is not None:
        return pool
    # asyncio's cluster pipeline knows its client; the sync one shares the nodes' manager.
    cluster = getattr(client, "cluster_client", None) or getattr(client, "_client", None)
    if cluster is not None:
        return cluster
    manager = client.nodes_manager
    return manager if hasattr(manager, "__weakref__") else client


def manager_of(owner: Any) -> Any:
    """Return the manager of a cluster's nodes; `None` for a single server.

    Args:
        owner: what `owner_of` gave.
    """
    if hasattr(owner, "connection_class"):
        return None
    return getattr(owner, "nodes_manager", owner)


def arguments_of(owner: Any) -> Mapping[str, Any]:
    """Return what connections are made with.

    Args:
        owner: what `owner_of` gave.
    """
    manager = manager_of(owner)
    found: Mapping[str, Any] = (owner if manager is None else manager).connection_kwargs
    return found


def kind_of(owner: Any) -> type:
    """Return the class of connections.

    Args:
        owner: what `owner_of` gave.
    """
    if manager_of(owner) is None:
        found: type = owner.connection_class
        return found
    arguments = arguments_of(owner)
    return arguments.get("connection_class") or (
        redis.SSLConnection if arguments.get("ssl") else redis.Connection
    )


def is_of_sentinel(owner: Any) -> bool:
    """Tell whether only Sentinel knows where the server is by now.

    Args:
        owner: what `owner_of` gave.
    """
    return getattr(owner, "service_name", None) is not None


def user_of(owner: Any) -> str:
    """Return who asks: other credentials may be allowed what these are not.

    Args:
        owner: what `owner_of` gave.
    """
    arguments = arguments_of(owner)
    provider = arguments.get("credential_provider")
    if provider is None:
        return str(arguments.get("username") or "default")
    # What it is, and what it says without being asked: that may cost a token.
    name = inspect.getattr_static(provider, "username", None)
    kind = f"{type(provider).__module__}.{type(provider).__qualname__}"
    return f"{kind} {name}" if isinstance(name, str) else kind


def _address(owner: Any) -> str:
    manager = manager_of(owner)
    if manager is not None:
        nodes = manager.startup_nodes
        return str(min(nodes)) if nodes else SERVICE
    if is_of_sentinel(owner):
        return str(owner.service_name)
    arguments = owner.connection_kwargs
    if "path" in arguments:
        return str(arguments["path"])
    return f"{arguments.get('host', 'localhost')}:{arguments.get('port', 6379)}"


class Way:
    """One server, as clients reach it.

    Args:
        name: what the server is called.
        owner: of a client that goes there by a class of the program's own; `None` where the name
            alone tells the server.
    """

    def __init__(self, name: str, owner: Any = None) -> None:
        self.name = name
        #: Whether it is one server, which can be asked; else those that are too many.
        self.is_one = True
        self._kind = weakref.ref(object if owner is None else kind_of(owner))
        own = {} if owner is None else _own_arguments(owner)
        self._marks = {key: _mark(value) for key, value in own.items()}

    def leads_as(self, owner: Any) -> bool:
        """Tell whether a client goes to the same server.

        Args:
            owner: of the client.
        """
        own = _own_arguments(owner)
        return (
            self._kind() is kind_of(owner)
            and own.keys() == self._marks.keys()
            and all(_is_marked(value, self._marks[key]) for key, value in own.items())
        )

    def is_over(self) -> bool:
        """Tell whether what it went by is gone, so that no client can take it any more."""
        marks = self._marks.values()
        return self._kind() is None or any(
            isinstance(mark, weakref.ref) and mark() is None for mark in marks
        )


class Ways:
    """Finds the way of a client."""

    def __init__(self) -> None:
        self._named: dict[str, Way] = {}
        self._own: dict[str, list[Way]] = {}

    def of(self, owner: Any) -> Way:
        """Return an owner's way.

        Args:
            owner: what `owner_of` gave.
        """
        address, kind = _address(owner), kind_of(owner)
        if kind in KINDS or is_of_sentinel(owner):
            return self._named.setdefault(address, Way(address))
        label = f"{address} ({kind.__name__}"
        known = self._own.setdefault(label, [])
        for way in known:
            if way.leads_as(owner):
                return way
        for place, way in enumerate(known):
            if way.is_over():
                known[place] = Way(way.name, owner)
                return known[place]
        if len(known) >= _MAX_WAYS:
            others = Way(f"{label} {OTHER})")
            others.is_one = False
            return others
        known.append(Way(f"{label} {len(known) + 1})" if known else f"{label})", owner))
        return known[-1]


def _own_arguments(owner: Any) -> dict[str, Any]:
    """Return what a class of the program's own is told beside what redis-py's take."""
    return {
        name: value
        for name, value in arguments_of(owner).items()
        if name not in _arguments_of_redis() and not name.startswith("ssl")
    }


@functools.cache
def _arguments_of_redis() -> frozenset[str]:
    makers = {base for kind in KINDS for base in kind.__mro__ if "__init__" in vars(base)}
    makers |= {redis.RedisCluster, redis.asyncio.RedisCluster}
    return frozenset(name for maker in makers for name in inspect.signature(maker).parameters) | {
        "connection_class"
    }


def _mark(value: Any) -> Any:
    """Return what tells a value from others later, and keeps no object of the program's alive."""
    if isinstance(value, _PLAIN):
        return value
    try:
        return weakref.WeakMethod(value) if isinstance(value, MethodType) else weakref.ref(value)
    except TypeError:  # a tuple, a dict: what holds values
        return value


def _is_marked(value: Any, mark: Any) -> bool:
    if isinstance(mark, weakref.WeakMethod):
        return bool(mark() == value)
    if isinstance(mark, weakref.ref):
        return mark() is value
    return type(value) is type(mark) and bool(value == mark)
