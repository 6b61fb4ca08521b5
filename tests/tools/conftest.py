"""The server of the tests with real tools."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tools.box import Box, running_box


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """One server for all tools."""
    folder = tmp_path_factory.mktemp("box")
    folder.chmod(0o700)
    with running_box(folder) as box:
        yield box
