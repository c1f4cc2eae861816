"""The subjects: each module has `make`, which returns a `bench.subject.Subject`.

A subject that can send its spans takes an endpoint (an OTLP/HTTP receiver; an agent for ddtrace);
without one they go as far as an exporter that drops them.
"""
