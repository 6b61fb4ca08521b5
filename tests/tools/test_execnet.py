"""execnet, which carries pytest-xdist, over ``trsh`` under the name of ``ssh``: channels, errors and Ctrl-C."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.system.running import require
from tests.tools.box import Box

pytestmark = pytest.mark.real

PROGRAM = """
import sys, execnet
gateway = execnet.makegateway(f"ssh={sys.argv[1]}//python={sys.executable}")
channel = gateway.remote_exec(sys.argv[2])
channel.send(bytes(range(256)) * 8000)
print(channel.receive(), end="")
gateway.exit()
"""


@pytest.fixture
def execnet(box: Box, tmp_path: Path) -> Box:
    """The server, with a folder at the head of the path in which ``trsh`` is called ``ssh``."""
    require(importlib.util.find_spec("execnet"), "execnet is not installed")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").symlink_to(box.trsh)
    return box


def words(box: Box, tmp_path: Path, host: str, remote: str) -> tuple[list[str], dict[str, str]]:
    """The command line of the program, and what to add to its environment."""
    return [sys.executable, "-c", PROGRAM, host, remote], {"PATH": f"{tmp_path}/bin:{box.environment['PATH']}"}


def test_channels(execnet: Box, tmp_path: Path) -> None:
    """What is sent through a channel arrives at the other interpreter, and its answer comes back."""
    command, path = words(execnet, tmp_path, "box", "channel.send(len(set(channel.receive())))")
    assert execnet.run(*command, env=path).stdout == "256"


def test_errors(execnet: Box, tmp_path: Path) -> None:
    """A server that does not answer is execnet's own error."""
    command, path = words(execnet, tmp_path, "closed", "")
    command[2] = (
        command[2]
        .replace("gateway = ", "try: gateway = ")
        .replace(
            "\nchannel = ",
            "\nexcept execnet.gateway_bootstrap.HostNotFound as error: sys.exit(f'lost {error}')\nchannel = ",
        )
    )
    done = execnet.run(*command, env=path, status=1)
    assert "trsh: no server of yours is known on port 1" in done.stderr
    assert "lost closed" in done.stderr


def test_interrupted(execnet: Box, tmp_path: Path) -> None:
    """Ctrl-C ends the interpreter on the server."""
    fifo = tmp_path / "fifo"
    remote = f"import os, time; open({str(fifo)!r}, 'w').write(str(os.getpid()) + chr(10)); time.sleep(600)"
    command, path = words(execnet, tmp_path, "box", remote)
    assert execnet.interrupt(fifo, *command, env=path) != 0
