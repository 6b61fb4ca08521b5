"""The other process of the TLS copy of :mod:`bench.clients.local`: sends zeros as fast as it can.

``python -m bench.clients.tls_sender PORT TOTAL_BYTES WRITE_BYTES``
"""

from __future__ import annotations

import socket
import ssl
import sys

__all__ = ["main"]


def main(port: int, total: int, size: int) -> None:
    """Send `total` bytes to a port of this machine, `size` at a time, after the receiver's first byte."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port))) as connection:
        connection.recv(1)
        block = bytes(size)
        for _ in range(total // size):
            connection.sendall(block)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
