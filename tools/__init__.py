"""Tools of a sub-agent; all of them work inside its sandbox."""
