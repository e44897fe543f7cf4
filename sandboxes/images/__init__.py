"""Base images made of this machine's own packages."""
