"""Puts our provider in the place of the SDK's in every process that has this folder on its path."""

from opentelemetry.sdk import trace

from otel_studio.spans.provider import StudioTracerProvider

trace.TracerProvider = StudioTracerProvider  # type: ignore[misc]
