"""What runs in a competitor's process: `python -m benchmarks.workers.NAME ...` its last line is JSON."""
