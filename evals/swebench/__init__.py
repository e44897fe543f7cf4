"""SWE-bench: its data, its images, runs in them, and grading by the `swebench` package itself."""
