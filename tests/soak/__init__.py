"""A soak: one process that makes runs of every kind for hours, and what of it grows. `python -m tests.soak --help`."""
