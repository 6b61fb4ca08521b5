"""A server that is many hosts: every name of its configuration leads to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server_process import HOST
from tests.tools.box import Box, running_box

CONFIG = """\
Host web03
    SetEnv RELEASE=1.9
Host web*
    SetEnv RELEASE=2.0
Host dead
    Port 1
Host web* db* dead
    HostName {host}
    Port {port}
"""
GROUPS = """\
web:    web[01-12]
db:     db1, db2
all:    @web, @db
"""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """One server for the programs of all tests here, and the files of the documentation."""
    folder = tmp_path_factory.mktemp("fleet")
    folder.chmod(0o700)
    with running_box(folder, "--max-sessions-per-key", "300") as box:
        for name, text in (("config", CONFIG.format(host=HOST, port=box.port)), ("groups", GROUPS)):
            (folder / "twisted-rsh" / name).write_text(text)
            (folder / "twisted-rsh" / name).chmod(0o600)
        yield box
