"""`python -m swarm`."""

import sys

try:
    from swarm.cli.main import main

    code = main()
except KeyboardInterrupt:  # while it was being imported
    code = 130
sys.exit(code)
