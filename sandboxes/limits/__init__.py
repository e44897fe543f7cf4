"""What a sandbox may use, and how that is held."""
