"""`python -m swarm`."""

import sys

try:
    from swarm.cli.main import command

    code = command()
except KeyboardInterrupt:  # while it was being imported
    code = 130
sys.exit(code)
