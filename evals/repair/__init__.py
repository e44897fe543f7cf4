"""Repair: faults that a seed plants in real packages, graded by tests that the agents have seen only a part of."""
