"""What leaves the process: OTLP and Prometheus."""
