"""The completion of the command line in the user's own shell: the shells' scripts, and the words that they ask for."""

from __future__ import annotations

import contextlib
from importlib.resources import files

from twisted_rsh.cli.arguments import OPTIONS
from twisted_rsh.cli.config_file import host_names, read_lines
from twisted_rsh.cli.destination import UsageError
from twisted_rsh.cli.keywords import KEYWORDS
from twisted_rsh.fleet.host_lists import BadHostList, parse_groups
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["completion_text"]

_SCRIPTS = {"bash": "trsh.bash", "zsh": "_trsh"}


def completion_text(kind: str, folders: ConfigFolders) -> str:
    """Return what a shell needs to complete the words of a command line.

    :param kind: ``bash`` or ``zsh`` for the script of that shell; ``hosts``, ``lists``, ``options`` or ``keywords`` for
        the words that the scripts ask for.
    :param folders: those of the configuration file, which names the hosts, and of the groups.
    :returns: the text, without the end of its last line.
    :raises UsageError: there is nothing of that kind.
    """
    if kind in _SCRIPTS:
        script = files("twisted_rsh.cli").joinpath("completion_scripts", _SCRIPTS[kind])
        return script.read_text("utf-8").rstrip("\n")
    if kind == "hosts":
        return "\n".join(sorted({*host_names(folders.client_settings_path), "127.0.0.1"}))
    if kind == "lists":
        return "\n".join([*sorted(host_names(folders.client_settings_path)), *_groups(folders.host_groups_path)])
    if kind == "options":
        return "\n".join(flag for option in OPTIONS if option.help for flag in option.flags)
    if kind == "keywords":
        return "\n".join(f"{keyword.name}=" for keyword in KEYWORDS.values())
    raise UsageError(f"no completion for {kind!r}: give bash or zsh")


def _groups(path: str) -> list[str]:
    """Return the groups of hosts as a list names them; what cannot be read is left out."""
    with contextlib.suppress(OSError, UsageError, BadHostList):
        return sorted(f"@{name}" for name in parse_groups(read_lines(path, is_trusted=False), path))
    return []
