"""The tables: what was measured as Markdown, and everything as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from typing import Any

from bench import plan
from bench.measure import Key, Measurements


def markdown(results: Measurements, what: str) -> str:
    """Return the tables.

    Args:
        results: what was measured.
        what: a line on the machine and the effort.
    """
    parts = [what, _bounds(results), _times(results), _operations(results), _paced(results)]
    parts += [_exporting(results), _registry(results), _imports(results)]
    if results.left_out:
        lines = [f"- {name}: {reason}" for name, reason in sorted(results.left_out.items())]
        parts.append("Left out:\n\n" + "\n".join(lines))
    return "\n\n".join(part for part in parts if part) + "\n"


def as_json(results: Measurements, what: str) -> str:
    """Return everything that was measured, in seconds and bytes, with the ratios."""
    document: dict[str, Any] = {
        "description": what,
        "seconds": {" / ".join(key): results.values(key) for key in sorted(results.runs)},
        "bytes_of_1000_names": results.memory,
        "ratios": [
            {"title": bound.title, "ratio": results.ratio(bound.work, bound.against)}
            | {"limit": bound.limit}
            for bound in plan.BOUNDS
        ],
        "milliseconds": [
            {"title": time.title, "limit": time.limit}
            | {"ms": _ms(results.median(time.key)), "calibration": _ms(results.median(time.beside))}
            for time in plan.TIMES
        ],
        "own_ratios": {" / ".join(key): values for key, values in results.own_ratios.items()},
        "receiver": results.receiver,
        "left_out": results.left_out,
    }
    return json.dumps(document, indent=2) + "\n"


def machine() -> str:
    """Return the interpreter and the processor in a line."""
    import os

    return (
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    )


def _bounds(results: Measurements) -> str:
    rows = []
    for bound in plan.BOUNDS:
        ratio = results.ratio(bound.work, bound.against)
        if ratio is not None:
            kept = "yes" if ratio <= bound.limit else "**no**"
            rows.append([bound.title, f"{ratio:.3f}", f"{bound.limit:g}", kept])
    for own in plan.OWN_RATIOS:
        ratio = results.own_ratio((own.subject, own.figure))
        if ratio is not None:
            kept = "yes" if ratio <= own.limit else "**no**"
            rows.append([own.title, f"{ratio:.3f}", f"{own.limit:g}", kept])
    if "registry_studio" in results.memory:
        megabytes = results.memory["registry_studio"] / 1e6
        kept = "yes" if megabytes <= plan.MEMORY_LIMIT_MB else "**no**"
        title = "memory of 1,000 operation names with all samples full, MB"
        rows.append([title, f"{megabytes:.1f}", f"{plan.MEMORY_LIMIT_MB:g}", kept])
    return table("Ratios, each taken side by side", ["", "ratio", "bound", "kept"], rows)


def _times(results: Measurements) -> str:
    rows = []
    for time in plan.TIMES:
        taken, loop = _ms(results.median(time.key)), _ms(results.median(time.beside))
        ratio = results.ratio(time.key, time.beside)
        if taken is None or loop is None or ratio is None:
            continue
        scaled = ratio * plan.CALIBRATION_MS
        kept = "yes" if scaled <= time.limit else "**no**"
        numbers = [f"{number:.1f}" for number in (taken, loop, scaled)]
        rows.append([time.title, *numbers, f"{time.limit:g}", kept])
    return table(
        f"CPU milliseconds, the median of {plan.VALUES}, each taken beside a calibration loop; "
        f"scaled to where the loop takes {plan.CALIBRATION_MS:g} ms, as the bounds are",
        ["", "ms", "loop, ms", "scaled", "bound", "kept"],
        rows,
    )


def _operations(results: Measurements) -> str:
    rows = []
    for row in plan.OPERATIONS:
        cells = [_micro(results.median((row.subject, shape))) for shape in plan.SHAPES]
        relative = results.ratio((row.subject, "call"), ("studio", "call"))
        if any(cells):
            rows.append([row.title, *cells, "" if relative is None else f"{relative:.2f}"])
    return table(
        "CPU microseconds per operation; the last column is the function against OTel Studio's",
        ["", *plan.SHAPES.values(), "ratio"],
        rows,
    )


def _paced(results: Measurements) -> str:
    base, *others = plan.PACED
    loop = _ms(results.median(plan.BESIDE_PACED))
    ours = results.above(("studio", "paced"), (base.subject, "paced"))
    rows = []
    for row in others:
        seconds = results.above((row.subject, "paced"), (base.subject, "paced"))
        if seconds is None or loop is None:
            continue
        hot = results.above((row.subject, "call"), (base.subject, "call"))
        scaled = seconds * plan.CALIBRATION_MS / loop
        relative = "" if not ours else f"{seconds / ours:.2f}"
        rows.append([row.title, *map(_micro, (hot, seconds, scaled)), relative])
    return table(
        f"CPU microseconds of a call above a plain one, in a loop and at {plan.PACED_RATE} calls "
        f"in a second with sleep between; scaled to where the loop of calibration takes "
        f"{plan.CALIBRATION_MS:g} ms; the ratio is of paced calls",
        ["", "in a loop", "paced", "paced, scaled", "ratio"],
        rows,
    )


def _exporting(results: Measurements) -> str:
    rows = []
    for row in plan.EXPORTING:
        key: Key = row.subject, "export"
        seconds, relative = results.median(key), results.ratio(key, ("studio", "export"))
        if seconds is not None:
            ratio = "" if relative is None else f"{relative:.2f}"
            rows.append([row.title, f"{seconds * 1e5:.2f}", ratio])
    return table(
        f"CPU seconds per 100,000 operations with 2 attributes, sent to the {results.receiver}",
        ["", "CPU seconds", "ratio"],
        rows,
    )


def _registry(results: Measurements) -> str:
    rows = [
        [title, _scaled(seconds)]
        for subject, shapes in plan.REGISTRY.items()
        for shape, title in shapes.items()
        if (seconds := results.median((subject, shape))) is not None
    ]
    titles = {"registry_studio": "**OTel Studio**, samples full", "registry_otel": "OpenTelemetry"}
    rows += [
        [f"memory of one operation name: {titles[subject]}", f"{size / 1e6:.1f} kB"]
        for subject, size in results.memory.items()
    ]
    return table("Encoding, scrapes, queries, caches and memory", ["", ""], rows)


def _imports(results: Measurements) -> str:
    rows = [
        [f"`{statement}`", f"{seconds * 1e3:.0f}"]
        for statement in plan.IMPORTS
        if (seconds := results.median((statement, "import"))) is not None
    ]
    return table("CPU milliseconds to import, in a fresh process", ["", "ms"], rows)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3


def _micro(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e6:.2f}"


def _scaled(seconds: float) -> str:
    return f"{seconds * 1e6:.2f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.1f} ms"


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table under its title; nothing where it has no rows."""
    body = [f"| {' | '.join(row)} |" for row in rows]
    if not body:
        return ""
    rule = "|---" + "|--:" * (len(header) - 1) + "|"
    return "\n".join([f"{title}:", "", f"| {' | '.join(header)} |", rule, *body])
