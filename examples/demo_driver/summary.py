"""What the demo says at its end: operations, slow runs, errors, caches, encodes, memory, logs."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.text import Text

from examples.demo_driver.screen import (
    milliseconds,
    operations_table,
    plain,
    rates_over,
    short_name,
)
from examples.preview_service.encodes import ffmpeg
from otel_studio import api
from otel_studio.api import MemoryUsage

SLOWEST = 5
SHARES_OF_A_RUN = 4
ERROR_KINDS = 8
LAST_ENCODES = 3


def print_summary(
    console: Console, seconds: float, outcomes: Counter[str], memory: MemoryUsage
) -> None:
    """Print what happened.

    Args:
        console: where to.
        seconds: how long the load ran.
        outcomes: how the requests ended, from `Load`.
        memory: from `api.get_memory_usage_metrics()` while the service still held its cache.
    """
    ended = ", ".join(f"{count} x {outcome}" for outcome, count in outcomes.most_common())
    console.print(Text(f"\n{outcomes.total()} requests in {seconds:.1f} s: {ended or 'none'}"))
    services = api.get_all_metrics()
    console.print(operations_table(services, rates=rates_over(seconds, services)))
    _print_slowest_runs(console)
    _print_errors(console)
    _print_caches(console)
    _print_encodes(console)
    _print_memory(console, memory)
    _print_gpus(console)
    _print_logs(console)


def _print_slowest_runs(console: Console) -> None:
    _heading(console, "Slowest runs, and where their time went")
    for slow in api.get_slow_operations(limit=SLOWEST, by="max"):
        _line(console, f"{slow.max_duration_ms:8.1f} ms  {_full(slow.service, slow.operation)}")
        for run in slow.samples[:1]:
            shares = sorted(run.time_split, key=lambda share: share.duration_ms, reverse=True)
            for share in shares[:SHARES_OF_A_RUN]:
                name = (
                    "its own code"
                    if share.operation == "self"
                    else f"{share.count} x {_full(share.service, share.operation)}"
                )
                _line(console, f"{milliseconds(share.duration_ms):>16}  {name}", "dim")


def _print_errors(console: Console) -> None:
    statistics = api.get_error_statistics()
    _heading(
        console, f"Errors: {statistics.total_errors} of {statistics.total_operations} operations"
    )
    # One failure passes through several operations: shown once, with all of them.
    seen: dict[tuple[str, str], list[str]] = {}
    for service, errors in statistics.by_service.items():
        for group in errors.groups:
            where = seen.setdefault((group.error_type, group.place), [])
            where += [f"{n:>11} x {_full(service, name)}" for name, n in group.operations.items()]
    for error_type, place in list(seen)[:ERROR_KINDS]:
        _line(console, f"    {error_type} in {place}", "red")
        for line in seen[error_type, place]:
            _line(console, line, "dim")
    if len(seen) > ERROR_KINDS:
        _line(console, f"    and {len(seen) - ERROR_KINDS} more kinds", "dim")


def _print_caches(console: Console) -> None:
    _heading(console, "Caches")
    for cache in api.get_cache_performance_metrics():
        rate = "no reads" if cache.hit_rate is None else f"{cache.hit_rate:.1%} hits"
        _line(
            console,
            f"{cache.cache}: {rate} ({cache.hits} hits, {cache.misses} misses), "
            f"{cache.evictions} evictions",
        )
        for prediction in cache.predicted_hit_rates:
            _line(
                console,
                f"{prediction.hit_rate:>16.1%}  hits if it held {prediction.entries} entries",
                "dim",
            )


def _print_encodes(console: Console) -> None:
    if ffmpeg is None:
        return
    encodes = ffmpeg.statistics()
    _heading(
        console,
        f"Encodes: {encodes.completed_encodes} done with {encodes.encoded_frames} frames, "
        f"{encodes.failed_encodes} failed",
    )
    jobs = [job for job in ffmpeg.sessions(running=False) if job.operation == "encode"]
    for job in jobs[:LAST_ENCODES]:
        speed = "-" if job.average_fps is None else f"{job.average_fps:.0f}"
        _line(
            console,
            f"{speed:>8} fps  {job.codec} {job.resolution}, {job.frames or 0} frames in "
            f"{milliseconds(job.duration_ms)} ms, {job.state}",
        )


def _print_logs(console: Console) -> None:
    levels: Counter[str] = Counter()
    for count in api.get_log_counts():
        levels[count.level] += count.count
    _heading(
        console, "Logs: " + (", ".join(f"{n} {level}" for level, n in levels.items()) or "none")
    )
    # From the groups of errors: the last runs alone may all have gone well.
    told = next(
        (
            (service, group)
            for service, errors in api.get_error_statistics().by_service.items()
            for group in errors.groups
            if group.log_records and group.trace_ids
        ),
        None,
    )
    if told is not None:
        service, group = told
        _line(
            console,
            f"    trace {group.trace_ids[-1]}, {_full(service, next(iter(group.operations)))}",
        )
        for record in group.log_records:
            _line(console, f"        {record['level']} {record['message']}", "dim")


def _print_memory(console: Console, memory: MemoryUsage) -> None:
    _heading(console, "Memory")
    _line(
        console,
        f"{_megabytes(memory.total_memory_mb)}  the process, "
        f"{_megabytes(memory.peak_memory_mb).strip()} at its peak",
    )
    for name, service in sorted(memory.services.items()):
        how = service.measured_by.get("memory_mb")
        peak = f", {_megabytes(service.peak_memory_mb).strip()} at its peak"
        _line(
            console,
            f"{_megabytes(service.memory_mb)}  {name}{peak}" + (f" ({how})" if how else ""),
        )


def _print_gpus(console: Console) -> None:
    gpus = api.get_gpu_utilization_metrics()
    if gpus:
        _heading(console, "GPUs")
    for gpu in gpus:
        used = "-" if gpu.gpu_utilization_percent is None else f"{gpu.gpu_utilization_percent:g}"
        _line(console, f"{used:>8} %   {gpu.name}, {_megabytes(gpu.memory_used_mb).strip()} used")


def _megabytes(size: float | None) -> str:
    return f"{'-':>8} MB" if size is None else f"{size:8.2f} MB"


def _full(service: str, operation: str) -> str:
    return f"{short_name(service)}  {operation}"


def _heading(console: Console, words: str) -> None:
    console.print(Text(f"\n{words}", "bold"))


def _line(console: Console, words: str, style: str = "") -> None:
    console.print(Text(plain(words), style), no_wrap=True, overflow="ellipsis")
