"""The merge queue: what becomes of the patches of a stage."""
