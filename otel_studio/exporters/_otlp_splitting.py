"""Splits an OTLP request that is larger than receivers take: by bytes, at any signal's items."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

#: A message of protobuf's, whose classes have no types.
Message = Any

#: From the request down to its items: the repeated field of each message that leads on.
_LEVELS: Final = {
    "ExportTraceServiceRequest": "resource_spans",
    "ResourceSpans": "scope_spans",
    "ScopeSpans": "spans",
    "ExportLogsServiceRequest": "resource_logs",
    "ResourceLogs": "scope_logs",
    "ScopeLogs": "log_records",
    "ExportMetricsServiceRequest": "resource_metrics",
    "ResourceMetrics": "scope_metrics",
    "ScopeMetrics": "metrics",
    "Gauge": "data_points",
    "Sum": "data_points",
    "Histogram": "data_points",
    "ExponentialHistogram": "data_points",
    "Summary": "data_points",
}
#: What the tag and the length of a field take at most: of an item, and of each message around it.
_FRAME_BYTES: Final = 6
#: Where a request is: the messages around an item, each with what leads on from it.
_Path = tuple[tuple[Message, str], ...]


def split(request: Message, limit: int) -> list[tuple[Message, int]]:
    """Return requests that hold the items of one, in their order, and how many each holds.

    An item (a span, a log record, a data point) that is larger than the limit is alone in its
    request.

    Args:
        request: an `Export*ServiceRequest` of OTLP.
        limit: bytes that each may take.
    """
    requests: list[tuple[Message, int]] = []
    made: Any = None
    #: Of the messages around the last item, those of the request that is being made.
    copies: list[Any] = []
    inside: _Path = ()
    count = size = 0
    for path, item in _items(request, ()):
        item_size = item.ByteSize() + _FRAME_BYTES
        around = _sizes_of_new(inside, path)
        if made is not None and size + around + item_size > limit:
            requests.append((made, count))
            made = None
        if made is None:
            made, inside, count, size = type(request)(), (), 0, 0
            around = _sizes_of_new(inside, path)
        shared = _shared(inside, path)
        del copies[shared:]
        for depth in range(shared, len(path)):
            copies.append(_copied(made if depth == 0 else copies[-1], path, depth))
        getattr(copies[-1], path[-1][1]).append(item)
        inside = path
        size += around + item_size
        count += 1
    if made is not None:
        requests.append((made, count))
    return requests


def _items(message: Message, path: _Path) -> Iterator[tuple[_Path, Message]]:
    """Yield each item, with the messages around it."""
    name = type(message).__name__
    leads_on = message.WhichOneof("data") if name == "Metric" else _LEVELS.get(name)
    if leads_on is None:
        if name != "Metric":
            yield path, message
        return
    path = (*path, (message, leads_on))
    if name == "Metric":
        yield from _items(getattr(message, leads_on), path)
        return
    for part in getattr(message, leads_on):
        yield from _items(part, path)


def _shared(inside: _Path, path: _Path) -> int:
    """Return how many of the messages around an item are those around the one before it."""
    shared = 0
    for one, other in zip(inside, path, strict=False):
        if one[0] is not other[0]:
            break
        shared += 1
    return shared


def _sizes_of_new(inside: _Path, path: _Path) -> int:
    return sum(
        _own_size(message, leads_on) + _FRAME_BYTES
        for message, leads_on in path[_shared(inside, path) :]
    )


def _own_size(message: Message, leads_on: str) -> int:
    """Return the bytes of a message without what leads on from it."""
    size: int = _without(message, leads_on).ByteSize()
    return size


def _copied(above: Any, path: _Path, depth: int) -> Message:
    """Return a message of the path in the request that is being made, empty of items."""
    message, leads_on = path[depth]
    bare = _without(message, leads_on)
    if depth == 0:
        above.CopyFrom(bare)
        return above
    place = getattr(above, path[depth - 1][1])
    if hasattr(place, "ListFields"):  # the data of a metric
        place.CopyFrom(bare)
        place.SetInParent()
        return place
    copy = place.add()
    copy.CopyFrom(bare)
    return copy


def _without(message: Message, leads_on: str) -> Message:
    """Return a copy of a message without one field."""
    copy = type(message)()
    for field, value in message.ListFields():
        if field.name == leads_on:
            continue
        if hasattr(value, "ListFields"):
            getattr(copy, field.name).CopyFrom(value)
        elif isinstance(value, str | bytes | int | float):
            setattr(copy, field.name, value)
        else:
            getattr(copy, field.name).extend(value)
    return copy
