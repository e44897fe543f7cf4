"""The suites of `swarm eval`, one module each, and what they have in common."""
