"""From a request to bytes, and from bytes to an answer or a fault."""
