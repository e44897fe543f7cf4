"""What a run may use, and who of it how much."""
