"""What becomes of the results of a stage."""
