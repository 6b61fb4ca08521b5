"""Tests of where a user's files are."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from twisted_rsh.trust.home import ConfigFolders, HomeUnknown


def test_xdg_variables_name_the_folders() -> None:
    """Absolute XDG variables win over HOME."""
    config = ConfigFolders.default({"HOME": "/h", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s"})
    assert config == ConfigFolders("/c/twisted-rsh", "/s/twisted-rsh")


@pytest.mark.parametrize("value", ["", "relative/path"])
def test_useless_xdg_variables_are_ignored(value: str) -> None:
    """Empty and relative values count as unset, as the XDG specification says."""
    config = ConfigFolders.default({"HOME": "/h", "XDG_CONFIG_HOME": value, "XDG_STATE_HOME": value})
    assert config == ConfigFolders("/h/.config/twisted-rsh", "/h/.local/state/twisted-rsh")


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "relative"}])
def test_user_database_stands_in_for_home(environ: dict[str, str]) -> None:
    """Without a usable HOME the user database names the home folder."""
    below = pwd.getpwuid(os.geteuid()).pw_dir
    assert ConfigFolders.default(environ).config == os.path.join(below, ".config", "twisted-rsh")


def test_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything can be in one folder, named absolutely or from the working folder."""
    assert ConfigFolders.at("/x") == ConfigFolders("/x", "/x")
    monkeypatch.chdir(tmp_path)
    assert ConfigFolders.at("x") == ConfigFolders(str(tmp_path / "x"), str(tmp_path / "x"))


def test_names_of_the_files() -> None:
    """Each file is where the documentation says."""
    config = ConfigFolders("/c", "/s")
    assert config.server_key_path == "/s/server/key.pem"
    assert config.authorized_keys_path == "/c/authorized_keys"
    assert config.client_key_path == "/c/id_ed25519"
    assert config.client_public_key_path == "/c/id_ed25519.pub"
    assert config.history_path == "/s/history"
    assert config.record_path(8082) == "/s/run/8082.json"


def test_unknown_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without an entry in the user database gets one line that names the way out."""
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000)
    with pytest.raises(
        HomeUnknown, match=r"^user 4000000000 has no home folder; set HOME, or give --config-dir FOLDER$"
    ):
        ConfigFolders.default({})
