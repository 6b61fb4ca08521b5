"""The private folder for the input of commands, without a running shell."""

from __future__ import annotations

import os
from pathlib import Path

from twisted_rsh.execution.shells.folder import PrivateFolder


def test_private_folder(tmp_path: Path) -> None:
    """No other user may enter the folder; it is made again if it was removed, and is removed in the end."""
    folder = PrivateFolder(str(tmp_path))
    first = Path(os.fsdecode(folder.place("x")))
    assert first.parent.stat().st_mode & 0o777 == 0o700
    first.touch()
    assert Path(os.fsdecode(folder.place("x"))) == first
    assert not first.exists()
    first.parent.rmdir()
    assert Path(os.fsdecode(folder.place("x"))).parent.is_dir()
    folder.remove()
    folder.remove()
    assert list(tmp_path.iterdir()) == []
