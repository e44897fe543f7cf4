"""The gate: the command that a tree must pass, what it says of which test, and who broke it."""
