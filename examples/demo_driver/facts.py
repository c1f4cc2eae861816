"""What the demo says beside its table: caches, encodes, memory by service, GPUs; a line each."""

from __future__ import annotations

from collections.abc import Iterator

from examples.preview_service.encodes import ffmpeg
from otel_studio import api

#: What is said of what, in words that fit beside a label in 80 columns.
Fact = tuple[str, str]


def facts() -> list[Fact]:
    """Return what is known now; what has no source has no line."""
    return [*_caches(), *_encodes(), *_memory(), *_gpus()]


def _caches() -> Iterator[Fact]:
    for cache in api.get_cache_performance_metrics():
        said = ["no reads" if cache.hit_rate is None else f"{cache.hit_rate:.0%} hits"]
        if cache.hit_rate_last_minute is not None:
            said.append(f"{cache.hit_rate_last_minute:.0%} in the last minute")
        if cache.entries is not None:
            said.append(f"{cache.entries} kept")
        if cache.current_memory_usage_mb is not None:
            said.append(megabytes(cache.current_memory_usage_mb))
        yield "cache", f"{cache.cache}: {', '.join(said)}"


def _encodes() -> Iterator[Fact]:
    if ffmpeg is None:
        return
    encodes = ffmpeg.statistics()
    ended = [job for job in ffmpeg.sessions(running=False) if job.operation == "encode"]
    seconds = sum(job.duration_ms for job in ended) / 1000
    speed = f" at {sum(job.frames or 0 for job in ended) / seconds:.0f} fps" if seconds else ""
    waiting = "" if encodes.queue_length is None else f", {encodes.queue_length} waiting"
    done = f"{encodes.completed_encodes} done{speed}, {encodes.failed_encodes} failed"
    yield "encodes", f"{done}, {encodes.active_encodes} running{waiting}"


def _memory() -> Iterator[Fact]:
    memory = api.get_memory_usage_metrics()
    services = [
        f"{name} {megabytes(service.memory_mb)}"
        for name, service in sorted(memory.services.items())
        if service.memory_mb is not None
    ]
    yield "memory", ", ".join([f"process {megabytes(memory.total_memory_mb)}", *services])


def _gpus() -> Iterator[Fact]:
    for gpu in api.get_gpu_utilization_metrics():
        used = gpu.gpu_utilization_percent
        busy = "-" if used is None else f"{used:g}"
        yield "gpu", f"{gpu.name}: {busy} %, {megabytes(gpu.memory_used_mb)} used"


def megabytes(size: float | None) -> str:
    """Return a size in megabytes, or a dash when there is none."""
    if size is None:
        return "- MB"
    return f"{size:.0f} MB" if size >= 100 else f"{size:.1f} MB"
