"""``python -m twisted_rsh.client``: the program ``trsh``."""

from twisted_rsh.starting import start_client

__all__ = ["start_client"]

if __name__ == "__main__":
    start_client()
