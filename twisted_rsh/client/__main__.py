"""``python -m twisted_rsh.client``, and ``trsh``: the client's command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from twisted_rsh.client.modes import run_client
from twisted_rsh.client.options import UsageError, parse_options, usage_text
from twisted_rsh.client.status import FAILURE_STATUS
from twisted_rsh.client.stdio import ensure_standard_descriptors

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the client.

    :param arguments: the command line behind the program's name; ``None`` for this process's own.
    :returns: the exit status.
    """
    ensure_standard_descriptors()
    try:
        options = parse_options(sys.argv[1:] if arguments is None else arguments)
    except UsageError as error:
        _print(f"trsh: {error}", 2)
        return FAILURE_STATUS
    if options.show_help:
        _print(usage_text().rstrip("\n"), 1)
        return 0
    if options.show_version:
        _print(f"twisted-rsh {version('twisted-rsh')}", 2)
        return 0
    return run_client(options)


def _print(line: str, fd: int) -> None:
    os.write(fd, f"{line}\n".encode(errors="backslashreplace"))


if __name__ == "__main__":
    sys.exit(main())
