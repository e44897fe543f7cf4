"""Upgrade a dependency across a repository: one sub-agent for each program that uses it. See examples/README.md."""
