"""The append-only record of a run: one writer, many readers."""
