"""The server of the tests with real tools."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.files.packets import system_server
from tests.system.running import unmeasured
from tests.tools.box import Box, running_box


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """One server for all tools."""
    folder = tmp_path_factory.mktemp("box")
    folder.chmod(0o700)
    with running_box(folder) as box:
        box.environment = unmeasured(box.environment)
        yield box


@pytest.fixture(scope="session", params=["system", "own"])
def file_box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A server for the tools that copy files, with each program behind the subsystem ``sftp``."""
    if request.param == "system":
        system_server()
    folder = tmp_path_factory.mktemp("files")
    folder.chmod(0o700)
    with running_box(folder, "--sftp", request.param) as box:
        box.environment = unmeasured(box.environment)
        yield box
