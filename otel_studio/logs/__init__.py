"""Log records joined to operations: the same ids, kept with failed and slow runs, redacted."""
