"""Swarm for other programs: runs in the background of a server that speaks somebody's protocol."""
