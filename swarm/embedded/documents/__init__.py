"""A policy that answers from attached documents: it searches, reads and quotes; it is no language model."""
