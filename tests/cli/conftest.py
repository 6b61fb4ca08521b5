"""Fixtures of the tests with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.terminal import Console, Terminal
from tests.server_process import ServerProcess, running_server
from tests.tools import require_tool


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server in a process of its own, for all tests that leave it running."""
    with running_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def bash_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with bash, which controls jobs, as its shell; ends the test where there is no bash."""
    with running_server(tmp_path_factory.mktemp("bash"), require_tool("bash")) as server:
        yield server


@pytest.fixture
def doomed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that the test may kill."""
    with running_server(tmp_path_factory.mktemp("doomed")) as server:
        yield server


@pytest.fixture
def console() -> Iterator[Console]:
    """Opens clients, each on a terminal of its own."""
    terminals: list[Terminal] = []

    def open_console(server: ServerProcess, *words: str, port: bool = True, **streams: Any) -> Terminal:
        terminals.append(Terminal(server.command(*words, port=port), server.environment, **streams))
        return terminals[-1]

    yield open_console
    for terminal in terminals:
        terminal.close()
