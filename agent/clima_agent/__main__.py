"""`python -m clima_agent`, and the `clima-agent` script."""

import sys

from clima_agent.cli import main

if __name__ == "__main__":
    sys.exit(main())
