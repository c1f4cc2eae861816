"""Makes a span of each job, and OpenTelemetry metrics of the book."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, ClassVar

from opentelemetry import context, metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.trace import Status, StatusCode

from .codecs import hardware_kind
from .jobs import CANCELLED, ERROR, Ending, Job, JobBook, total_fps
from .safety import report_failure
from .version import __version__

#: The instrumentation scope: the service under which the jobs appear.
SCOPE = "ffmpeg"


class SpanMaker:
    """Keeps one span per job, child of the operation that started the job.

    Args:
        tracer_provider: `None` for the global one.
    """

    def __init__(self, tracer_provider: trace.TracerProvider | None) -> None:
        self._tracer = trace.get_tracer(SCOPE, __version__, tracer_provider)

    def job_started(self, job: Job) -> None:
        """Start the job's span; it does not become current, since the job outlives the call."""
        try:
            job.span = self._tracer.start_span(
                job.operation, context.get_current(), start_time=job.started_wall_ns
            )
        except Exception as error:
            report_failure("starting the span of an ffmpeg job", error)

    def job_ended(self, job: Job, ending: Ending) -> None:
        """End the job's span with its final figures."""
        span = job.span
        if span is None:
            return
        job.span = None
        try:
            if span.is_recording():
                span.set_attributes(_attributes(job, ending))
                if ending.state == CANCELLED:
                    _mark_cancelled(span)
                elif ending.state == ERROR:
                    span.set_attribute("error.type", ending.error_type or "_OTHER")
                    span.set_status(Status(StatusCode.ERROR, ending.error))
            span.end(job.started_wall_ns + (ending.ended_ns or job.started_ns) - job.started_ns)
        except Exception as error:
            report_failure("ending the span of an ffmpeg job", error)


def _mark_cancelled(span: trace.Span) -> None:
    """Tell OTel Studio that the run was stopped: neither an error nor one that went well."""
    span.set_attribute("studio.outcome", "cancelled")
    take_outcome = getattr(span, "take_outcome", None)
    if take_outcome is not None:  # spans of its own provider do not read their attributes
        take_outcome("cancelled")


def _attributes(job: Job, ending: Ending) -> dict[str, Any]:
    progress = job.progress
    bitrate = progress.bitrate_kbps
    known = {
        "ffmpeg.source": job.source,
        "ffmpeg.codec": job.codec,
        "ffmpeg.hardware": hardware_kind(job.codec),
        "ffmpeg.resolution": job.resolution,
        "ffmpeg.frame_rate": job.frame_rate,
        "ffmpeg.frames": progress.frames,
        "ffmpeg.dropped_frames": progress.dropped_frames,
        "ffmpeg.bitrate": bitrate * 1000 if bitrate is not None else None,
        "ffmpeg.output.size": progress.output_bytes,
        "ffmpeg.output.duration": progress.output_seconds,
        "ffmpeg.speed": progress.speed,
        "process.pid": job.pid,
        "process.exit.code": ending.exit_code,
    }
    return {name: value for name, value in known.items() if value is not None}


class Gauges:
    """The observable instruments.

    An SDK keeps the first callbacks of an instrument for ever, so there is one such object for
    each provider: it reads whichever book is set, and reports nothing while there is none.
    """

    _by_provider: ClassVar[weakref.WeakKeyDictionary[metrics.MeterProvider, Gauges]] = (
        weakref.WeakKeyDictionary()
    )

    @classmethod
    def of(cls, meter_provider: metrics.MeterProvider | None) -> Gauges:
        """Return the gauges of a provider.

        Args:
            meter_provider: `None` for the global one.
        """
        provider = meter_provider if meter_provider is not None else metrics.get_meter_provider()
        gauges = cls._by_provider.get(provider)
        if gauges is None:
            gauges = cls(metrics.get_meter(SCOPE, __version__, provider))
            cls._by_provider[provider] = gauges
        return gauges

    def __init__(self, meter: metrics.Meter) -> None:
        self.book: JobBook | None = None
        meter.create_observable_up_down_counter(
            "otel_studio.ffmpeg.session.active",
            [self._active],
            "{session}",
            "Encode, decode and remux jobs running.",
        )
        meter.create_observable_counter(
            "otel_studio.ffmpeg.session.count",
            [self._ended],
            "{session}",
            "Jobs ended, by outcome.",
        )
        meter.create_observable_counter(
            "otel_studio.ffmpeg.session.duration",
            [self._seconds],
            "s",
            "Time that the ended jobs took together: by their number it is the average.",
        )
        meter.create_observable_counter(
            "otel_studio.ffmpeg.frames", [self._frames], "{frame}", "Frames done."
        )
        meter.create_observable_gauge(
            "otel_studio.ffmpeg.frame_rate",
            [self._frame_rate],
            "{frame}/s",
            "Frames per second over all running jobs.",
        )
        meter.create_observable_gauge(
            "otel_studio.ffmpeg.queue.length", [self._queues], "{job}", "Jobs waiting to start."
        )

    def _active(self, _: CallbackOptions) -> Iterable[Observation]:
        if self.book is None:
            return
        self.book.fold()
        counts: dict[tuple[str, str | None], int] = {}
        for job in self.book.running_jobs():
            key = (job.operation, hardware_kind(job.codec))
            counts[key] = counts.get(key, 0) + 1
        for operation in {operation for operation, _ in self.book.outcomes()}:
            counts.setdefault((operation, None), 0)
        for (operation, hardware), count in counts.items():
            attributes = {"ffmpeg.operation": operation}
            if hardware is not None:
                attributes["ffmpeg.hardware"] = hardware
            yield Observation(count, attributes)

    def _ended(self, _: CallbackOptions) -> Iterable[Observation]:
        if self.book is None:
            return
        for (operation, outcome), count in self.book.outcomes().items():
            yield Observation(count, {"ffmpeg.operation": operation, "ffmpeg.outcome": outcome})

    def _seconds(self, _: CallbackOptions) -> Iterable[Observation]:
        if self.book is None:
            return
        for (operation, outcome), seconds in self.book.seconds().items():
            yield Observation(seconds, {"ffmpeg.operation": operation, "ffmpeg.outcome": outcome})

    def _frames(self, _: CallbackOptions) -> Iterable[Observation]:
        if self.book is None:
            return
        for operation, frames in self.book.frames().items():
            yield Observation(frames, {"ffmpeg.operation": operation})

    def _frame_rate(self, _: CallbackOptions) -> Iterable[Observation]:
        if self.book is None:
            return
        by_operation: dict[str, list[Job]] = {}
        for job in self.book.running_jobs():
            by_operation.setdefault(job.operation, []).append(job)
        for operation, jobs in by_operation.items():
            fps = total_fps(jobs)
            if fps is not None:
                yield Observation(fps, {"ffmpeg.operation": operation})

    def _queues(self, _: CallbackOptions) -> Iterable[Observation]:
        if self.book is None:
            return
        for name, length in self.book.queue_lengths().items():
            yield Observation(length, {"ffmpeg.queue": name})
