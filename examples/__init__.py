"""Runnable examples: a media preview service, and the demo that puts it under load."""
