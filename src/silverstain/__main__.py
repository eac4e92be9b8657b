"""`python -m silverstain`, and so `torchrun -m silverstain`: the command line."""

import sys

from silverstain.cli import main

if __name__ == "__main__":
    sys.exit(main())
