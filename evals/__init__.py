"""Evaluation: tasks with a known answer, and the faults of the demonstration."""
