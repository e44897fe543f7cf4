"""git, and the trees that a run works on."""
