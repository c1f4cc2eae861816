"""The registry's statistics as OpenTelemetry metrics."""
