"""Calls the connection plugin as Ansible does, in Ansible's Python: ``python ansible_calls.py``.

Reads a JSON object: `options` of the plugin, and `calls`, a list of names of methods with their arguments; bytes stand
in Latin-1.  Writes what each call returned, or the name and the text of its exception, as a JSON list.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader


def call(connection: Any, name: str, *arguments: Any) -> object:
    """Call a method; return what came of it, in a form for JSON."""
    try:
        if name == "exec_command":
            command, data = arguments
            status, stdout, stderr = connection.exec_command(command, in_data=data.encode("latin-1"))
            return [status, stdout.decode("latin-1"), stderr.decode("latin-1")]
        return getattr(connection, name)(*arguments)
    except Exception as error:  # noqa: BLE001 - the test decides which are right
        return [type(error).__name__, str(error)]


def main() -> None:
    """Call everything, one after another."""
    asked = json.load(sys.stdin)
    connection = connection_loader.get("twisted_rsh", PlayContext(), None)
    connection.set_options(direct=asked["options"])
    json.dump([call(connection, *words) for words in asked["calls"]], sys.stdout)


if __name__ == "__main__":
    main()
