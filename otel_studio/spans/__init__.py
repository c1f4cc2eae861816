"""Spans of our own and those of others: provider, tracer, buffer, export queue, redaction."""
