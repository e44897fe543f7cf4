"""PARL on a CPU: a small orchestrator learns from swarm's logs when to delegate. See docs/parl.md."""
