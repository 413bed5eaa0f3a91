"""`clima-agent`, and `python -m clima_agent`."""

import sys

from clima_agent.cli import main

if __name__ == "__main__":
    sys.exit(main())
