"""The pages and the tests agree: ids of numbered tests, columns of code."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parents[1] / "docs"


def script(name: str) -> ModuleType:
    """Load a script of the documentation."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_numbered_tests_are_listed() -> None:
    """Every id that a test begins with is in docs/numbered_tests.rst, and every id there has a test."""
    check = script("check_numbered_tests")
    assert sorted(check.tested_ids() ^ check.listed_ids()) == []


def test_code_stays_within_its_column() -> None:
    """No line of code on a page runs out of its box."""
    assert list(script("check_columns").long_lines()) == []
