"""What is put in place of the methods of redis-py that send commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from time import perf_counter
from typing import Any

import redis
import redis.asyncio.client
import redis.asyncio.cluster
import redis.client
import redis.cluster

from otel_studio.instrumentation import UNKNOWN_KEY, Cache, Function, Patches, report_internal_error

from .commands import Effects, effects_of, interpreter_of
from .servers import Servers

#: Set while a cluster pipeline runs: it may repeat single commands by itself.
_in_pipeline: ContextVar[bool] = ContextVar("otel_studio_redis_pipeline", default=False)


def patch(patches: Patches, servers: Servers) -> None:
    """Replace what sends single commands and whole pipelines, sync and asyncio.

    Args:
        patches: makes the replacements.
        servers: knows the recorder of each client.
    """
    single = Single(patches, servers)
    batch = Batch(patches, servers)
    methods: list[tuple[type, str, Callable[[Function], Function]]] = [
        (redis.client.Redis, "execute_command", single.sync),
        (redis.cluster.RedisCluster, "execute_command", single.sync),
        (redis.asyncio.client.Redis, "execute_command", single.asynchronous),
        (redis.asyncio.cluster.RedisCluster, "execute_command", single.asynchronous),
        (redis.client.Pipeline, "immediate_execute_command", single.sync),
        (redis.asyncio.client.Pipeline, "immediate_execute_command", single.asynchronous),
        (redis.client.Pipeline, "execute", batch.sync),
        (redis.cluster.ClusterPipeline, "execute", batch.sync),
        (redis.asyncio.client.Pipeline, "execute", batch.asynchronous),
        (redis.asyncio.cluster.ClusterPipeline, "execute", batch.asynchronous),
        (redis.client.Pipeline, "raise_first_error", batch.before_raising),
        (redis.asyncio.client.Pipeline, "raise_first_error", batch.before_raising),
    ]
    for owner, name, make in methods:
        patches.replace(owner, name, make)


class Single:
    """Records commands that are sent one by one."""

    def __init__(self, patches: Patches, servers: Servers) -> None:
        self._patches = patches
        self._servers = servers

    def _counts(self, arguments: Sequence[Any]) -> bool:
        return (
            self._patches.active
            and interpreter_of(arguments) is not None
            and not _in_pipeline.get()
        )

    def _record(self, client: Any, arguments: Sequence[Any], reply: Any, start: float) -> None:
        duration = perf_counter() - start
        recorder = self._servers.recorder(client)
        if recorder is not None:
            record(recorder, effects_of_safely(arguments, reply), duration)

    def sync(self, original: Function) -> Function:
        """Return the replacement of a method that returns the reply."""

        def execute_command(client: Any, *arguments: Any, **options: Any) -> Any:
            if not self._counts(arguments):
                return original(client, *arguments, **options)
            start = perf_counter()
            try:
                reply = original(client, *arguments, **options)
            except redis.ResponseError as error:
                self._record(client, arguments, error, start)
                raise
            self._record(client, arguments, reply, start)
            return reply

        return execute_command

    def asynchronous(self, original: Function) -> Function:
        """Return the replacement of a coroutine function."""

        async def execute_command(client: Any, *arguments: Any, **options: Any) -> Any:
            if not self._counts(arguments):
                return await original(client, *arguments, **options)
            start = perf_counter()
            try:
                reply = await original(client, *arguments, **options)
            except redis.ResponseError as error:
                self._record(client, arguments, error, start)
                raise
            self._record(client, arguments, reply, start)
            return reply

        return execute_command


class Batch:
    """Records pipelines when their replies are there; a single read's time is not known."""

    def __init__(self, patches: Patches, servers: Servers) -> None:
        self._patches = patches
        self._servers = servers

    def _record(self, pipeline: Any, commands: Iterable[Sequence[Any]], replies: Any) -> None:
        recorder = self._servers.recorder(pipeline)
        if recorder is None or not isinstance(replies, list):
            return
        for arguments, reply in zip(commands, replies, strict=False):
            record(recorder, effects_of_safely(arguments, reply), None)

    def sync(self, original: Function) -> Function:
        """Return the replacement of a pipeline's `execute`."""

        def execute(pipeline: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._patches.active:
                return original(pipeline, *args, **kwargs)
            queued = queued_commands(pipeline)
            token = _in_pipeline.set(True)
            try:
                replies = original(pipeline, *args, **kwargs)
            except Exception:
                self._record_known(pipeline, queued)
                raise
            finally:
                _in_pipeline.reset(token)
            self._record(pipeline, [arguments_of(command) for command in queued], replies)
            return replies

        return execute

    def asynchronous(self, original: Function) -> Function:
        """Return the replacement of an asyncio pipeline's `execute`."""

        async def execute(pipeline: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._patches.active:
                return await original(pipeline, *args, **kwargs)
            queued = queued_commands(pipeline)
            token = _in_pipeline.set(True)
            try:
                replies = await original(pipeline, *args, **kwargs)
            except Exception:
                self._record_known(pipeline, queued)
                raise
            finally:
                _in_pipeline.reset(token)
            self._record(pipeline, [arguments_of(command) for command in queued], replies)
            return replies

        return execute

    def _record_known(self, pipeline: Any, queued: Sequence[Any]) -> None:
        """Record what a cluster's pipeline had got before it failed, as far as it kept that."""
        known = [command for command in queued if getattr(command, "result", None) is not None]
        self._record(
            pipeline,
            [arguments_of(command) for command in known],
            [command.result for command in known],
        )

    def before_raising(self, original: Function) -> Function:
        """Return the replacement of what raises the first error among a server's replies."""

        def raise_first_error(pipeline: Any, commands: Any, replies: Any) -> Any:
            if self._patches.active and any(isinstance(reply, Exception) for reply in replies):
                self._record(pipeline, [arguments_of(command) for command in commands], replies)
            return original(pipeline, commands, replies)

        return raise_first_error


def queued_commands(pipeline: Any) -> list[Any]:
    """Return what a pipeline is about to send, wherever this version of redis-py keeps it.

    Args:
        pipeline: of a server or a cluster.
    """
    strategy = getattr(pipeline, "_execution_strategy", None)
    for holder, name in (
        (strategy, "_command_queue"),
        (pipeline, "command_stack"),
        (pipeline, "_command_stack"),
    ):
        queue = getattr(holder, name, None)
        if isinstance(queue, list):
            return list(queue)
    return []


def arguments_of(command: Any) -> Sequence[Any]:
    """Return the words of a queued command: of a cluster's object, or of a tuple with options.

    Args:
        command: what a pipeline keeps of it.
    """
    found: Sequence[Any] = command.args if hasattr(command, "args") else command[0]
    return found


def effects_of_safely(arguments: Sequence[Any], reply: Any) -> Effects | None:
    """Return what a command did; `None` where a reply is not what the server would send.

    Args:
        arguments: the command with its arguments.
        reply: what a callback of the program's may have made of the server's.
    """
    try:
        return effects_of(arguments, reply)
    except Exception as error:
        report_internal_error("reading a reply of Redis", error)
        return None


def record(recorder: Cache, effects: Effects | None, duration: float | None) -> None:
    """Record what one command did.

    Args:
        recorder: of the server.
        effects: what it did; nothing for `None`.
        duration: how long it took, in seconds; counted once, however many keys it read.
    """
    if effects is None:
        return
    for key, found in effects.reads:
        note: Callable[..., None] = recorder.hit if found else recorder.miss
        note(key, duration)
        duration = None
    for key in effects.stored:
        recorder.set(key)
    for key in effects.deleted:
        recorder.evict(UNKNOWN_KEY if key is None else key, "deleted")
