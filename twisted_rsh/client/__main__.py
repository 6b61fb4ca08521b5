"""``python -m twisted_rsh.client``: the program ``trsh``."""

import sys

from twisted_rsh.cli.__main__ import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
