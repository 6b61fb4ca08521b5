"""Makes an inventory of another project's names from a list, so that references to them need no network.

The list has sections.  A section begins with the project's key and the address of its documentation.  Each line in it
has the kind of a name, the name, and the page that has it, with ``$`` for the name::

    [python] https://docs.python.org/3
    class collections.abc.Mapping library/collections.abc.html#$

The inventories have version 2 of Sphinx's format: four lines, then one compressed line for each name.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

__all__ = ["write_inventories"]

SECTION = re.compile(r"\[(\w+)\] (https://\S+)")


def write_inventories(listed: Path, folder: Path) -> dict[str, tuple[str, str]]:
    """Write the inventory of each project on a list.

    :param listed: the list.
    :param folder: where the inventories go.
    :returns: what ``intersphinx_mapping`` takes: by project, the address and the path of the inventory.
    :raises ValueError: a line of the list is not in its form.
    """
    names: dict[str, list[str]] = {}
    addresses: dict[str, str] = {}
    project = ""
    for number, line in enumerate(listed.read_text("utf-8").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        section = SECTION.fullmatch(line)
        if section:
            project = section[1]
            addresses[project], names[project] = section[2], []
            continue
        words = line.split()
        if len(words) != 3 or not project:
            raise ValueError(f"{listed.name}, line {number}: not 'KIND NAME PAGE' in a section: {line}")
        kind, name, page = words
        names[project].append(f"{name} py:{kind} 1 {page} -")
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for project, lines in names.items():
        path = folder / f"{project}.inv"
        head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
        head += "# The remainder of this file is compressed using zlib.\n"
        path.write_bytes(head.encode() + zlib.compress("".join(f"{line}\n" for line in lines).encode()))
        mapping[project] = (addresses[project], str(path))
    return mapping
