"""Our hits and misses of reads, against the server's own `keyspace_hits` and `keyspace_misses`."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
from otel_studio_instrumentation_redis.commands import _INTERPRETERS

from redis_server import close_cluster

SETUP: dict[str, list[tuple[Any, ...]]] = {
    "string": [("SET", "string", "value"), ("SET", "empty", "")],
    "hash": [("HSET", "hash", "field", "value")],
    "list": [("RPUSH", "list", "a", "b")],
    "set": [("SADD", "set", "a", "b")],
    "zset": [("ZADD", "zset", "1", "a", "2", "b")],
    "stream": [("XADD", "stream", "*", "field", "value")],
    "log": [("PFADD", "log", "a", "b")],
}

#: A key that is there, and the arguments that follow it, for every command that reads.
READS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "GET": ("string", ()),
    "GETEX": ("string", ("PERSIST",)),
    "GETSET": ("string", ("new",)),
    "GETDEL": ("string", ()),
    "DUMP": ("hash", ()),
    "STRLEN": ("string", ()),
    "GETRANGE": ("string", ("0", "2")),
    "SUBSTR": ("string", ("0", "2")),
    "MGET": ("string", ("nothing", "empty")),
    "EXISTS": ("string", ("hash", "nothing")),
    "TOUCH": ("nothing", ("hash", "string", "nobody")),
    "TTL": ("string", ()),
    "PTTL": ("string", ()),
    "EXPIRETIME": ("string", ()),
    "PEXPIRETIME": ("string", ()),
    "TYPE": ("zset", ()),
    "HGET": ("hash", ("field",)),
    "HMGET": ("hash", ("other", "field")),
    "HGETALL": ("hash", ()),
    "HKEYS": ("hash", ()),
    "HVALS": ("hash", ()),
    "HLEN": ("hash", ()),
    "HRANDFIELD": ("hash", ("1",)),
    "LINDEX": ("list", ("0",)),
    "LRANGE": ("list", ("0", "-1")),
    "LLEN": ("list", ()),
    "SMEMBERS": ("set", ()),
    "SCARD": ("set", ()),
    "SRANDMEMBER": ("set", ()),
    "ZSCORE": ("zset", ("a",)),
    "ZCARD": ("zset", ()),
    "ZRANDMEMBER": ("zset", ()),
    "ZRANGE": ("zset", ("0", "-1")),
    "ZREVRANGE": ("zset", ("0", "-1")),
    "ZRANGEBYSCORE": ("zset", ("0", "9")),
    "ZREVRANGEBYSCORE": ("zset", ("9", "0")),
    "ZRANGEBYLEX": ("zset", ("-", "+")),
    "XLEN": ("stream", ()),
    "XRANGE": ("stream", ("-", "+")),
    "XREVRANGE": ("stream", ("+", "-")),
    "PFCOUNT": ("log", ()),
}
WRITES = {"SET", "SETEX", "PSETEX", "SETNX", "MSET", "MSETNX", "HSET", "HMSET", "DEL", "UNLINK"}


def fill(client: redis.Redis) -> None:
    """Store a key of every type, past the instrumentation."""
    for commands in SETUP.values():
        for command in commands:
            client.execute_command(*command)


def test_every_counted_command_is_tried() -> None:
    """The table of commands has no entry that these tests leave out."""
    assert set(_INTERPRETERS) == set(READS) | WRITES


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("command", READS)
def test_every_command_counts_as_the_server_counts(bench, command: str, protocol: int) -> None:
    """On a key that is there, on none, and on one of another type, alone and in pipelines."""
    if protocol == 3 and redis.__version__ < "5":
        pytest.skip("redis-py speaks RESP3 from version 5 on")
    options = {} if protocol == 2 else {"protocol": 3}
    with contextlib.closing(redis.Redis.from_url(bench.url, **options)) as client:
        key, more = READS[command]
        wrong = "hash" if key != "hash" else "string"
        for transaction in (None, True, False):
            fill(client)
            # MGET alone leaves out, without an error, what is of another type.
            for name in (key, "missing") if command == "MGET" else (key, "missing", wrong):
                with contextlib.suppress(redis.ResponseError):
                    if transaction is None:
                        client.execute_command(command, name, *more)
                    else:
                        pipeline = client.pipeline(transaction=transaction)
                        pipeline.execute_command("ECHO", "first")
                        pipeline.execute_command(command, name, *more)
                        pipeline.execute()
            assert bench.by_us() == bench.by_server(), (command, transaction)
    hits, misses = bench.by_us()
    assert hits > 0
    assert misses > 0


def test_scripted_load(bench) -> None:
    """Thousands of random commands by redis-py's own methods: hits, misses and rate are equal."""
    calls = random.Random(7)
    with contextlib.closing(redis.Redis.from_url(bench.url, decode_responses=True)) as client:
        sets = deleted = 0
        for _ in range(3_000):
            key, other = (f"user:{calls.randrange(40)}" for _ in range(2))
            match calls.randrange(12):
                case 0 | 1:
                    client.set(key, "x" * calls.randrange(100))
                    sets += 1
                case 2:
                    client.execute_command("SETEX", key, 100, "value")
                    sets += 1
                case 3:
                    sets += bool(client.set(key, "value", nx=True))
                case 4:
                    client.mset({key: 1, other: 2})
                    sets += len({key, other})
                case 5:
                    deleted += client.delete(*{key, other})
                case 6:
                    client.mget([key, other])
                case 7:
                    client.exists(key, other)
                case 8:
                    client.ttl(key)
                case 9:
                    deleted += client.getdel(key) is not None
                case _:
                    client.get(key)
        hits, misses = bench.by_server()
        assert bench.by_us() == (hits, misses)
        record = bench.record()
        assert record.hit_rate == record.hit_rate_last_hour == hits / (hits + misses)
        assert record.sets == sets
        assert record.evictions_by_reason["deleted"] == deleted
        assert record.entries == client.dbsize()
        assert min(hits, misses, sets, deleted) > 100
        assert record.average_response_time_ms is not None
        assert len(record.top_accessed_keys) == 20
        assert record.top_accessed_keys[0].key.startswith("user:")


def test_pipelines(bench) -> None:
    """With and without MULTI, immediate after WATCH, failing in the middle, and not at all."""
    with contextlib.closing(redis.Redis.from_url(bench.url)) as client:
        fill(client)
        for transaction in (True, False):
            for raises in (True, False):
                pipeline = client.pipeline(transaction=transaction)
                pipeline.get("string").get("missing").lpush("string", "x").mget("string", "no")
                pipeline.hgetall("hash").hgetall("none").get("hash").set("new", 1)
                with contextlib.suppress(redis.ResponseError):
                    pipeline.execute(raise_on_error=raises)
                assert bench.by_us() == bench.by_server()
        pipeline = client.pipeline()
        pipeline.watch("string")
        assert pipeline.get("string") == b"value"
        assert pipeline.get("missing") is None
        pipeline.multi()
        pipeline.get("string")
        pipeline.execute()
        assert bench.by_us() == bench.by_server()
        pipeline.watch("string")
        client.set("string", "changed")
        pipeline.multi()
        pipeline.get("string")
        with pytest.raises(redis.WatchError):
            pipeline.execute()
        assert client.pipeline().execute() == []
    assert bench.by_us() == bench.by_server()
    assert bench.by_us()[0] > 10


async def test_asyncio(bench, close) -> None:
    """Concurrent tasks with single commands and pipelines: equal to the server's count."""
    client = redis.asyncio.Redis.from_url(bench.url)

    async def work(seed: int) -> None:
        calls = random.Random(seed)
        for _ in range(60):
            key = f"key:{calls.randrange(20)}"
            if await client.get(key) is None:
                await client.set(key, "value")
            await client.mget(key, "none")
            async with client.pipeline(transaction=bool(seed % 2)) as pipeline:
                await pipeline.get(key).exists("none", key).hgetall("none").execute()
        async with client.pipeline() as pipeline:
            await pipeline.watch("key:1")
            await pipeline.get("key:1")
            pipeline.multi()
            pipeline.get("key:1").lpush("key:1", "wrong type")
            with contextlib.suppress(redis.ResponseError, redis.WatchError):
                await pipeline.execute()

    await asyncio.gather(*(work(seed) for seed in range(6)))
    with pytest.raises(redis.ResponseError):
        await client.hget("key:1", "field")
    await close(client)
    assert bench.by_us() == bench.by_server()
    assert min(bench.by_us()) > 300


def cluster_clients(url: str) -> Iterator[redis.RedisCluster]:
    client = redis.RedisCluster.from_url(url)
    yield client
    close_cluster(client)


def test_cluster(cluster) -> None:
    """Commands that a cluster's client splits by slot, and its pipelines, count once."""
    for client in cluster_clients(cluster.url):
        for key in "abc":
            client.set(key, "value")
        client.get("a")
        client.get("missing")
        client.exists("a", "b", "missing")
        client.mget_nonatomic("a", "b", "missing")
        assert cluster.by_us() == cluster.by_server() == (5, 3)
        pipeline = client.pipeline()
        pipeline.get("a").get("b").get("missing").hgetall("missing").set("c", 1)
        pipeline.execute()
        assert cluster.by_us() == cluster.by_server() == (7, 5)
        pipeline = client.pipeline()
        pipeline.get("a").hget("a", "field")
        with pytest.raises(redis.ResponseError):
            pipeline.execute()
        assert cluster.by_us() == cluster.by_server() == (9, 5)


async def test_cluster_asyncio(cluster, close) -> None:
    """The same for asyncio's cluster client."""
    client = redis.asyncio.RedisCluster.from_url(cluster.url)
    await client.initialize()
    await client.set("a", "value")
    await client.get("a")
    await client.get("missing")
    await client.exists("a", "missing")
    await client.mget_nonatomic("a", "missing")
    assert cluster.by_us() == cluster.by_server() == (3, 3)
    async with client.pipeline() as pipeline:
        await pipeline.get("a").get("missing").set("b", 1).execute()
    assert cluster.by_us() == cluster.by_server() == (4, 4)
    await close(client)


def test_threads_share_a_client(bench) -> None:
    """Eight threads on one client lose nothing."""
    with contextlib.closing(redis.Redis.from_url(bench.url)) as client:

        def work(seed: int) -> None:
            calls = random.Random(seed)
            for _ in range(100):
                key = calls.randrange(50)
                if client.get(key) is None:
                    client.set(key, "value")

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert bench.by_us() == bench.by_server()
        assert sum(bench.by_us()) == 800


def test_set_with_get(bench) -> None:
    """`SET ... GET` reads and, unless NX or XX forbids, stores; as text or as bytes."""
    with contextlib.closing(redis.Redis.from_url(bench.url)) as client:
        client.execute_command("SET", "a", "1", "GET")
        client.execute_command(b"set", "a", "2", b"get")
        client.execute_command("SET", "a", "3", "XX", "GET")
        client.execute_command("SET", "b", "3", "XX", "GET")
        assert client.get("b") is None
        assert bench.by_us() == bench.by_server() == (2, 3)
        assert bench.record().sets == 3


def test_missing_field_is_a_miss(bench) -> None:
    """The one difference to the server: it found the hash, the program not what it wanted."""
    with contextlib.closing(redis.Redis.from_url(bench.url)) as client:
        client.hset("hash", "field", 1)
        assert client.hget("hash", "other") is None
    assert bench.by_server() == (1, 0)
    assert bench.by_us() == (0, 1)


def test_odd_replies_pass_through(bench) -> None:
    """A callback of the program's that changes replies changes no reply, and at most a count."""
    with contextlib.closing(redis.Redis.from_url(bench.url)) as client:
        client.set_response_callback("MGET", lambda reply, **options: 7)
        assert client.mget("a", "b") == 7
    from otel_studio.base.guard import internal_errors

    assert internal_errors.pop("reading a reply of Redis") == 1
