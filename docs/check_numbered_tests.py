"""Compares the list of numbered tests with the tests: ``python docs/check_numbered_tests.py``.

It prints each id that a docstring of a test begins with and that the list does not have, and each id of the list that
no test has.  It ends with status 1 if there is one.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["listed_ids", "tested_ids"]

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "docs" / "numbered_tests.rst"
ID = r"[A-Z]-\d\d"


def listed_ids() -> set[str]:
    """Read the ids of the list: each stands alone in a line."""
    return set(re.findall(rf"^({ID})$", LIST.read_text("utf-8"), re.MULTILINE))


def tested_ids() -> set[str]:
    """Find the ids that docstrings of tests begin with, one or several: ``A-09, A-10: the same bytes``.

    A docstring may have several parts that begin so, after a semicolon or a full stop.
    """
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text("utf-8")
        if re.search(ID, text):
            for docstring in _docstrings(ast.parse(text)):
                for part in re.findall(rf"(?:^|[.;] )({ID}(?:(?:, | and ){ID})*)", docstring):
                    found.update(re.findall(ID, part))
    return found


def _docstrings(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    """Find the docstrings of a definition and of those that stand directly in it."""
    yield ast.get_docstring(node) or ""
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings(child)


if __name__ == "__main__":
    listed, tested = listed_ids(), tested_ids()
    problems = [f"{name}: a test has it, and {LIST.name} does not" for name in sorted(tested - listed)]
    problems += [f"{name}: {LIST.name} has it, and no test does" for name in sorted(listed - tested)]
    print(*problems, sep="\n", end="\n" if problems else "")
    sys.exit(bool(problems))
