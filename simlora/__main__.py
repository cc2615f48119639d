"""`python -m simlora`."""

import sys

from simlora.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
