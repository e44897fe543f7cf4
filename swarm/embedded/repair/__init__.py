"""Search-based repair of Python programs, as a policy of the embedded endpoint."""
