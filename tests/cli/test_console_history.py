"""The file of the prompt's history; `test_console_terminal` tests the keys."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from prompt_toolkit.history import FileHistory, InMemoryHistory

from twisted_rsh.cli.console import open_history
from twisted_rsh.trust.home import ConfigFolders


def test_history_is_private(config: ConfigFolders) -> None:
    """O-02: the history is a file of mode 0600 in a folder of mode 0700, and keeps its lines."""
    history = open_history(config)
    assert isinstance(history, FileHistory)
    path = Path(config.history_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    history.store_string("ls -l")
    assert list(open_history(config).load_history_strings()) == ["ls -l"]


@pytest.mark.parametrize("obstacle", ["folder", "link", "open", "file"])
def test_history_that_cannot_be_kept(config: ConfigFolders, tmp_path: Path, obstacle: str) -> None:
    """O-01: if no history can be kept safely, the console works with one in memory."""
    path = Path(config.history_path)
    path.parent.mkdir(parents=True, mode=0o700)
    if obstacle == "folder":
        path.mkdir()
    elif obstacle == "link":
        (tmp_path / "elsewhere").write_text("secret")
        path.symlink_to(tmp_path / "elsewhere")
    elif obstacle == "open":
        path.parent.chmod(0o777)
    else:
        path.parent.rmdir()
        path.parent.write_text("a file")
    assert isinstance(open_history(config), InMemoryHistory)
