"""Fixtures of the tests of keys and files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twisted_rsh.trust.home import ConfigFolders

SOMEBODY_ELSE = 54321
"""A uid that is neither root's nor that of the user who runs the tests."""


@pytest.fixture
def config(tmp_path: Path) -> ConfigFolders:
    """A user's folders that do not exist yet."""
    return ConfigFolders(str(tmp_path / "config"), str(tmp_path / "state"))


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Give a path to another user; without root's rights, let the tested code believe that it runs as another user."""

    def give(path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, SOMEBODY_ELSE, -1, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY_ELSE)

    return give


@pytest.fixture
def set_umask() -> Iterator[Callable[[int], int]]:
    """Set the umask for one test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)
