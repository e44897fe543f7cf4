"""Attempts on the nodes of a Ray cluster. Only `cluster` knows Ray; what runs on a node is `outpost`."""
