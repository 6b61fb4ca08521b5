"""Checks that the files, classes and functions that the pages name exist: ``python docs/check_names.py``.

It reads the literals of the pages, of README, CONTRIBUTING and the READMEs of folders.  A literal that looks like a
file or a folder of the source tree must be one.  A literal such as ``Session``, ``Session.resume()`` or ``dial()`` must
be defined in the source, or be a name of another project that the source uses.  A file in parentheses after a name
must define it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from twisted_rsh.cli.keywords import KEYWORDS, is_of_ssh

__all__ = ["wrong_names"]

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("*.rst", "docs/*.rst", "bench/*.rst", "fuzz/*.rst", "tests/vectors/*.rst")
SOURCES = ("twisted_rsh", "bench", "fuzz", "tests", "docs", "examples")

NOT_OURS = {
    "AcceptEnv",
    "ControlMaster",
    "ControlPersist",
    "Infinity",
    "MaxStartups",
    "NaN",
    "None",
    "PerSourceMaxStartups",
    "PerSourcePenalties",
    "VmHWM",
    "ansible.cfg",
    "first.py",
}
"""Names of other programs and of other languages, and files that a reader makes."""

OF_THE_CONFIGURATION = {keyword.name for keyword in KEYWORDS.values()} | {"Host", "Include", "Match"}
"""The keywords of the client's configuration file."""

LITERAL = re.compile(r"``([^`]+)``")
FILE = re.compile(r"[\w.-][\w./-]*(?:\.(?:py|rst|json|md|toml|cfg|svg|cast)|/)")
NAME = re.compile(r"(?:[A-Z]\w*[a-z]\w*|[a-z]\w*(?=\())(?:\.\w+)?(?:\([\w=, .\"]*\))?")
PLACE = re.compile(r"``(\w+)(?:\.(\w+))?(?:\(\))?``\s+(?:\(|in\s+)``([\w/]+\.py)``")


@cache
def definitions() -> dict[Path, dict[str, set[str]]]:
    """Read the source: for each file, the classes and functions in it, and the names in each class."""
    found: dict[Path, dict[str, set[str]]] = {}
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*.py"):
            names = found[path] = defaultdict(set)
            _collect(ast.parse(path.read_text("utf-8")), names, ())
    return found


def _collect(node: ast.AST, names: dict[str, set[str]], around: tuple[set[str], ...]) -> None:
    """Note what a node defines, in `names` and for the definitions around it."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            around = (*around, names[name])
            defined = name
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Attribute(attr=name):
            defined = name
        case ast.Assign(targets=[ast.Name(id=name)]):
            defined = name
        case ast.ImportFrom():
            for alias in node.names:
                names[alias.asname or alias.name] |= set()
            return
        case _:
            defined = ""
    if defined:
        for members in around:
            members.add(defined)
    for child in ast.iter_child_nodes(node):
        _collect(child, names, around)


@cache
def everywhere() -> dict[str, set[str]]:
    """Return the classes and functions of all files, and the names in them."""
    found: dict[str, set[str]] = defaultdict(set)
    for names in definitions().values():
        for name, members in names.items():
            found[name] |= members
    return found


def is_file(page: Path, name: str) -> bool:
    """Tell whether there is such a file or folder: below the root, the package, or the folder of the page."""
    return any((folder / name).exists() for folder in (ROOT, ROOT / "twisted_rsh", page.parent))


def is_defined(owner: str, member: str | None, names: dict[str, set[str]]) -> bool:
    """Tell whether a name is among definitions, with a member if one is given; an imported name may have any."""
    return owner in names and (member is None or not names[owner] or member in names[owner])


def wrong_literals(page: Path, text: str) -> Iterator[str]:
    """Find the literals of a page that look like a file or a name, and are none."""
    for literal in LITERAL.findall(text):
        owner, _, member = literal.partition("(")[0].partition(".")
        if literal in NOT_OURS | OF_THE_CONFIGURATION or is_of_ssh(literal) or owner.isupper():
            continue
        if FILE.fullmatch(literal):
            if not is_file(page, literal):
                yield f"no file {literal}"
        elif NAME.fullmatch(literal) and not is_defined(owner, member or None, everywhere()):
            yield f"nothing defines {literal}"


def wrong_places(page: Path, text: str) -> Iterator[str]:
    """Find the names of a page that are not in the file after them."""
    for owner, member, name in PLACE.findall(text):
        places = [definitions().get(folder / name, {}) for folder in (ROOT / "twisted_rsh", ROOT, page.parent)]
        if not any(is_defined(owner, member or None, names) for names in places):
            yield f"{name} does not define {owner}{member and '.'}{member}"


def wrong_names() -> list[str]:
    """Find the names on the pages that are nowhere in the source, or not where a page says.

    :returns: for each of them its page and the name.
    """
    return [
        f"{page.relative_to(ROOT)}: {problem}"
        for page in sorted(path for pattern in PAGES for path in ROOT.glob(pattern))
        for look in (wrong_literals, wrong_places)
        for problem in look(page, page.read_text("utf-8"))
    ]


if __name__ == "__main__":
    wrong = wrong_names()
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sys.exit(bool(wrong))
