"""Builds one Studio: settings to rooms, the pipeline in one line, and its end."""
