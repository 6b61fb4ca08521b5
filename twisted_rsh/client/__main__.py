"""``python -m twisted_rsh.client``: the program ``trsh``."""

from twisted_rsh.cli.__main__ import main, run

__all__ = ["main"]

if __name__ == "__main__":
    run()
