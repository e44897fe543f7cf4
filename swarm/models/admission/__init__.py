"""Admission to an endpoint: how many calls at once, and how fast."""
