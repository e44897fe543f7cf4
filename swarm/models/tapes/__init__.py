"""Runs that are recorded, and run again without a network."""
