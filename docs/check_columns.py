"""Checks that no code on these pages runs out of its box: ``python docs/check_columns.py``.

It looks at the code blocks and literal blocks of the pages, of README and CONTRIBUTING, and at the files that pages
include.  It prints each line that is too long, and ends with status 1 if there is one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["COLUMNS", "long_lines"]

COLUMNS = 88
"""Columns of code that the box of a page shows without a scroll bar."""

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"( *)(?:\.\. (?:code-block|literalinclude|parsed-literal):: *(\S*)|(?!\.\. ).*::)$")
OPTION = re.compile(r" *:([\w-]+): ?(.*)$")


def pages() -> list[Path]:
    """List the files to look at."""
    return [ROOT / "README.rst", ROOT / "CONTRIBUTING.rst", *sorted((ROOT / "docs").glob("**/*.rst"))]


def included(page: Path, name: str, options: dict[str, str]) -> Iterator[tuple[Path, int, str]]:
    """Give the lines of a file that a ``literalinclude`` shows."""
    path = (page.parent / name).resolve()
    begun = not {"start-at", "start-after"} & options.keys()
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not begun:
            begun = "start-at" in options and options["start-at"] in line
            if not begun:
                begun = "start-after" in options and options["start-after"] in line
                continue
        elif "end-before" in options and options["end-before"] in line:
            return
        yield path, number, line


def code_in(page: Path) -> Iterator[tuple[Path, int, str]]:
    """Give each line of code that a page shows: its file, its number there, and its text without the indentation."""
    lines = page.read_text("utf-8").splitlines()
    number = 0
    while number < len(lines):
        match = BLOCK.match(lines[number])
        number += 1
        if match is None:
            continue
        outer, options = len(match[1]), {}
        while number < len(lines) and (option := OPTION.match(lines[number])):
            options[option[1]] = option[2]
            number += 1
        if ".. literalinclude" in lines[number - 1 - len(options)]:
            yield from included(page, match[2], options)
            continue
        inner = None
        while number < len(lines):
            text = lines[number]
            indent = len(text) - len(text.lstrip())
            if text.strip():
                if indent <= outer:
                    break
                inner = indent if inner is None else min(inner, indent)
                yield page, number + 1, text[inner:]
            number += 1


def long_lines() -> list[str]:
    """Find the lines of code that have more than :data:`COLUMNS` columns.

    :returns: for each of them its file, its number and its length.
    """
    return [
        f"{path.relative_to(ROOT)}:{number}: {len(line)} columns"
        for page in pages()
        for path, number, line in code_in(page)
        if len(line) > COLUMNS
    ]


if __name__ == "__main__":
    found = long_lines()
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))
