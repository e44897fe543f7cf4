"""Who decides what is done next."""
