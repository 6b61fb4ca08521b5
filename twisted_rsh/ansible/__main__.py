"""``python -m twisted_rsh.ansible``: print what tells Ansible where the connection plugin is.

``eval "$(python -m twisted_rsh.ansible)"`` is enough for ``ansible_connection=twisted_rsh``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

from twisted_rsh.printing import print_text

__all__ = ["COLLECTION", "PLUGINS", "main"]

COLLECTION = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "collection", "ansible_collections", "twisted_rsh", "rsh"
)
"""The folder of the collection, for ``ansible-galaxy collection install``."""

PLUGINS = os.path.join(COLLECTION, "plugins", "connection")
"""The folder of the connection plugin, for Ansible's ``connection_plugins``."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the settings.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: stdout cannot be written; with the line that says so, and status 1.
    """
    parser = argparse.ArgumentParser(prog="python -m twisted_rsh.ansible", description="Print settings for Ansible.")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--config", action="store_true", help="print lines for ansible.cfg instead of lines for a shell")
    form.add_argument("--plugins", action="store_true", help="print the folder of the plugin alone")
    form.add_argument("--collection", action="store_true", help="print the folder of the collection alone")
    options = parser.parse_args(arguments)
    if options.plugins:
        lines = [PLUGINS]
    elif options.collection:
        lines = [COLLECTION]
    elif options.config:
        lines = ["[defaults]", f"connection_plugins = {PLUGINS}", "", "[twisted_rsh]", f"python = {sys.executable}"]
    else:
        # Folders that the user has named already stay.
        others = "${ANSIBLE_CONNECTION_PLUGINS:+:$ANSIBLE_CONNECTION_PLUGINS}"
        lines = [
            f"export ANSIBLE_CONNECTION_PLUGINS={shlex.quote(PLUGINS)}{others}",
            f"export ANSIBLE_TWISTED_RSH_PYTHON={shlex.quote(sys.executable)}",
        ]
    fault = print_text("".join(f"{line}\n" for line in lines))
    if fault is not None:
        raise SystemExit(f"{parser.prog}: {fault}")


if __name__ == "__main__":
    main()
