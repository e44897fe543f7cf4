"""Working copies by copy-on-write."""
