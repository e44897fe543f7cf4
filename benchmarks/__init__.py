"""What swarm costs, measured against floors and peers in one interleaved run: `python -m benchmarks --help`."""
