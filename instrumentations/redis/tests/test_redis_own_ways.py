"""Clients with a way of their own to their server, and servers that do not say what they hold."""

from __future__ import annotations

import contextlib
import gc
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from otel_studio_instrumentation_redis import RedisCacheInstrumentor, servers, ways

from otel_studio.base.clock import ManualClock
from otel_studio.base.guard import forget_said, internal_errors
from otel_studio.caches import CachePerformance, CacheRegistry
from reentry import interrupted

from redis_server import RedisServer


@pytest.fixture
def caches() -> Iterator[CacheRegistry]:
    forget_said()
    registry = CacheRegistry(ManualClock())
    RedisCacheInstrumentor().instrument(caches=registry)
    yield registry
    RedisCacheInstrumentor().uninstrument()
    registry.poll()
    assert not internal_errors


def _tunnel_to(port: int) -> type[redis.Connection]:
    class Tunnel(redis.Connection):
        """Goes to one server, whatever host and port it was given."""

        def _connect(self) -> Any:
            return socket.create_connection(("127.0.0.1", port))

    return Tunnel


def _calls_of_info(server: RedisServer) -> int:
    with contextlib.closing(redis.Redis.from_url(server.url)) as direct:
        found = direct.info("commandstats").get("cmdstat_info")
        return int(found["calls"]) if found else 0


def _records(caches: CacheRegistry) -> dict[str, CachePerformance]:
    caches.poll()
    return {record.cache: record for record in caches.get_cache_performance_metrics()}


def test_figures_are_asked_over_the_clients_own_way(
    caches: CacheRegistry, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Those of the server that it reaches, never of the one whose address it names."""
    with RedisServer(tmp_path / "stranger") as stranger:
        with socket.create_connection(("127.0.0.1", stranger.port)) as unseen:
            unseen.sendall(b"MSET a 1 b 2 c 3\r\n")
            assert unseen.recv(100) == b"+OK\r\n"
        asked_before = _calls_of_info(stranger)
        pool = redis.ConnectionPool(
            connection_class=_tunnel_to(redis_server.port), host="127.0.0.1", port=stranger.port
        )
        client = redis.Redis(connection_pool=pool)
        client.flushall()
        client.set("a", 1)
        client.get("a")
        records = _records(caches)
        pool.disconnect()
        assert _calls_of_info(stranger) - asked_before == 1  # the test's own, before

    tunnel = records[f"127.0.0.1:{stranger.port} (Tunnel)"]
    assert (tunnel.hits, tunnel.entries) == (1, 1)


def test_two_ways_of_one_name_are_two_servers(
    caches: CacheRegistry, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Classes of the same name, and one class that is told different things."""

    class Told(redis.Connection):
        """Goes where it is told beside its host and port."""

        def __init__(self, where: int, **options: Any) -> None:
            super().__init__(**options)
            self.where = where

        def _connect(self) -> Any:
            return socket.create_connection(("127.0.0.1", self.where))

    with RedisServer(tmp_path / "other") as other:
        ports = (redis_server.port, other.port)
        pools = [
            redis.ConnectionPool(connection_class=_tunnel_to(port), host="server", port=1)
            for port in ports
        ] + [
            redis.ConnectionPool(connection_class=Told, where=port, host="server", port=1)
            for port in ports
        ]
        with contextlib.closing(redis.Redis.from_url(redis_server.url)) as direct:
            direct.flushall()
        clients = [redis.Redis(connection_pool=pool) for pool in pools]
        clients[0].set("a", 1)
        clients[1].mset({f"k{number}": number for number in range(7)})
        for client in clients:
            client.get("a")
        records = _records(caches)
        for pool in pools:
            pool.disconnect()

    entries = {name: record.entries for name, record in records.items() if "server:1" in name}
    assert entries == {
        "server:1 (Tunnel)": 1,
        "server:1 (Tunnel 2)": 7,
        "server:1 (Told)": 1,
        "server:1 (Told 2)": 7,
    }


def test_pools_of_one_way_are_one_server(caches: CacheRegistry, redis_server: RedisServer) -> None:
    """Objects of redis-py's own, a database or a name of the client are no other server."""
    tunnel = _tunnel_to(redis_server.port)
    pools = [
        redis.ConnectionPool(connection_class=tunnel, host="server", port=1, db=number, **more)
        for number, more in enumerate([{}, {"client_name": "app"}, {"socket_timeout": 1.0}])
    ]
    for pool in pools:
        redis.Redis(connection_pool=pool).get("nothing")
    [record] = _records(caches).values()
    assert (record.cache, record.misses) == ("server:1 (Tunnel)", 3)
    for pool in pools:
        pool.disconnect()


def test_a_way_in_the_place_of_one_that_is_over_is_asked_anew(
    caches: CacheRegistry, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Ways that come and go take few names, and the figures are those of the one that is there."""
    with contextlib.closing(redis.Redis.from_url(redis_server.url)) as direct:
        direct.flushall()
        direct.set("a", 1)

    def entries_by(port: int) -> int | None:
        pool = redis.ConnectionPool(connection_class=_tunnel_to(port), host="server", port=2)
        redis.Redis(connection_pool=pool).get("a")
        found = _records(caches)["server:2 (Tunnel)"].entries
        pool.disconnect()
        del pool
        gc.collect()
        caches.poll()  # finds nobody left to ask for
        gc.collect()  # a class is freed by nothing else
        return found

    with RedisServer(tmp_path / "empty") as empty:
        assert entries_by(redis_server.port) == 1
        assert entries_by(empty.port) == 0
        assert entries_by(redis_server.port) == 1
    assert not any("Tunnel 2" in name for name in _records(caches))


def test_more_ways_than_can_be_told_apart_share_a_name_that_says_so(
    caches: CacheRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no figures of any server."""
    monkeypatch.setattr(ways, "_MAX_WAYS", 2)
    found = ways.Ways()
    pools = [
        redis.ConnectionPool(connection_class=_tunnel_to(1), host="server", port=3)
        for _ in range(4)
    ]
    assert [(found.of(pool).name, found.of(pool).is_one) for pool in pools] == [
        ("server:3 (Tunnel)", True),
        ("server:3 (Tunnel 2)", True),
        ("server:3 (Tunnel __other__)", False),
        ("server:3 (Tunnel __other__)", False),
    ]


async def test_an_asyncio_connection_of_the_programs_own_is_not_asked_for(
    caches: CacheRegistry, redis_server: RedisServer, close: Any
) -> None:
    """Its reads are counted; what the server holds is not known."""

    class Own(redis.asyncio.Connection):
        pass

    pool = redis.asyncio.ConnectionPool(
        connection_class=Own, host="127.0.0.1", port=redis_server.port
    )
    client = redis.asyncio.Redis(connection_pool=pool)
    await client.set("a", 1)
    await client.get("a")
    [record] = [each for each in _records(caches).values() if each.hits]
    assert (record.hits, record.entries) == (1, None)
    await close(client)
    await pool.disconnect()


def test_a_user_who_may_not_ask_is_not_asked_again(
    caches: CacheRegistry, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once; new clients of that user ask no more, those of another user do."""
    with contextlib.closing(redis.Redis.from_url(redis_server.url)) as admin:
        admin.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-info")

    def read(**credentials: str) -> None:
        with contextlib.closing(redis.Redis(port=redis_server.port, **credentials)) as client:
            client.get("nothing")
            caches.poll()
            caches.poll()

    def refusals() -> int:
        with contextlib.closing(redis.Redis.from_url(redis_server.url)) as admin:
            return int(admin.info("commandstats").get("cmdstat_info", {}).get("rejected_calls", 0))

    before = refusals()
    for _ in range(3):
        read(username="app", password="pw")
    assert refusals() - before == 1
    [record] = _records(caches).values()
    assert record.entries is None
    assert record.misses == 3
    assert caplog.text.count("does not answer INFO") == 1
    with contextlib.closing(redis.Redis(port=redis_server.port)) as client:
        client.get("nothing")
        [record] = _records(caches).values()
    assert record.entries is not None


def test_providers_of_credentials_are_one_user(
    caches: CacheRegistry, redis_server: RedisServer
) -> None:
    """An object for each client is no reason to ask again for each."""
    with contextlib.closing(redis.Redis.from_url(redis_server.url)) as admin:
        admin.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-info")

    class Provider(redis.CredentialProvider):
        def get_credentials(self) -> tuple[str, str]:
            return "app", "pw"

    def refusals() -> int:
        with contextlib.closing(redis.Redis.from_url(redis_server.url)) as admin:
            return int(admin.info("commandstats").get("cmdstat_info", {}).get("rejected_calls", 0))

    before = refusals()
    for _ in range(5):
        with contextlib.closing(
            redis.Redis(port=redis_server.port, credential_provider=Provider())
        ) as client:
            client.get("nothing")
            caches.poll()
    assert refusals() - before == 1


def test_a_refusal_ends_with_the_last_client(
    caches: CacheRegistry, redis_server: RedisServer
) -> None:
    """What comes later may be another server, or another rule; and others ask meanwhile."""
    port = redis_server.port
    with contextlib.closing(redis.Redis.from_url(redis_server.url)) as admin:
        admin.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-info")
        app = redis.Redis(port=port, username="app", password="pw")
        app.get("nothing")
        [record] = _records(caches).values()
        assert record.entries is None
        other = redis.Redis(port=port)
        other.get("nothing")
        [record] = _records(caches).values()
        assert record.entries is not None
        other.close()
        del other
        gc.collect()
        admin.execute_command("ACL", "SETUSER", "app", "+info")
        [record] = _records(caches).values()
        assert record.entries is None
        app.close()
        del app
        gc.collect()
        _records(caches)
        with contextlib.closing(redis.Redis(port=port, username="app", password="pw")) as again:
            again.get("nothing")
            [record] = _records(caches).values()
            assert record.entries is not None


def test_refusals_are_bounded(caches: CacheRegistry, redis_server: RedisServer) -> None:
    """A server that refused so many is asked as nobody more."""
    users = [f"app{number}" for number in range(servers._MAX_REFUSED + 5)]
    clients = []
    with contextlib.closing(redis.Redis.from_url(redis_server.url)) as admin:
        for user in users:
            admin.execute_command("ACL", "SETUSER", user, "on", ">pw", "~*", "+@all", "-info")
            clients.append(redis.Redis(port=redis_server.port, username=user, password="pw"))
            clients[-1].get("nothing")

        def rejected() -> int:
            found = admin.info("commandstats").get("cmdstat_info", {})
            return int(found.get("rejected_calls", 0))

        before = rejected()
        for _ in range(3):
            caches.poll()
        assert rejected() - before == servers._MAX_REFUSED
        for client in clients:
            client.close()
        admin.execute_command("ACL", "DELUSER", *users)


def test_a_server_without_the_command_is_left_alone(
    caches: CacheRegistry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """INFO was renamed, as hosted servers do."""
    with (
        RedisServer(tmp_path / "redis", "--rename-command", "INFO", "") as server,
        contextlib.closing(redis.Redis(port=server.port)) as client,
    ):
        client.get("nothing")
        for _ in range(3):
            [record] = _records(caches).values()
    assert (record.misses, record.entries, record.current_memory_usage_mb) == (1, None, None)
    assert caplog.text.count("does not answer INFO") == 1


def test_another_server_behind_the_address_counts_from_its_beginning(
    caches: CacheRegistry, tmp_path: Path
) -> None:
    """What the first one evicted is not taken away from what the second does."""
    server = RedisServer(tmp_path / "first")
    with server, contextlib.closing(redis.Redis(port=server.port)) as client:
        client.get("a")
        _records(caches)
        client.set("b", 1, px=1)
        while client.exists("b"):
            pass
        client.get("b")
        [record] = _records(caches).values()
        assert record.evictions == 1
        port = server.port

    class AtThatAddress(RedisServer):
        def choose_ports(self) -> None:
            self.port = port

    second = AtThatAddress(tmp_path / "second")
    with second, contextlib.closing(redis.Redis(port=port)) as client:
        client.set("c", 1, px=1)
        while client.exists("c"):
            pass
        client.get("c")
        [record] = _records(caches).values()
    assert record.evictions in (1, 2)  # that before the first look at the second is not known
    assert record.entries == 0


@pytest.mark.prove
@pytest.mark.timeout(300)
def test_nothing_waits_for_what_it_has_interrupted(
    caches: CacheRegistry, redis_server: RedisServer
) -> None:
    """Clients are made and read by handlers and finalizers while others are, or are asked for."""
    clients = [redis.Redis(port=redis_server.port) for _ in range(2)]

    def use() -> None:
        clients[0].get("a")
        caches.poll()

    def inside() -> None:
        with contextlib.closing(redis.Redis(port=redis_server.port)) as client:
            client.get("a")
        caches.poll()

    interrupted(use, inside)
    for client in clients:
        client.close()
