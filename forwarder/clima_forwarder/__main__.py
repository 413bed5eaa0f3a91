"""`python -m clima_forwarder`, and the `clima` script."""

import sys

from clima_forwarder.cli import main

if __name__ == "__main__":
    sys.exit(main())
