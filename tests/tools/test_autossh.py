"""autossh with ``trsh``: it starts the client again when the client was killed, and leaves with the command's end."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.server_process import PATIENCE, wait_until_gone
from tests.tools import require_tool
from tests.tools.box import Box, read_number

pytestmark = pytest.mark.real


@pytest.fixture
def autossh(box: Box) -> Box:
    """The server, with an environment in which autossh calls ``trsh``."""
    require_tool("autossh")
    box.environment |= {"AUTOSSH_PATH": box.trsh, "AUTOSSH_GATETIME": "0", "AUTOSSH_POLL": "1"}
    return box


def test_status(autossh: Box) -> None:
    """A command that has ended is not started again."""
    done = autossh.run("autossh", "-M", "0", "-o", "ServerAliveInterval 60", "box", "echo out; exit 3", status=None)
    assert done.stdout == "out\n"


def test_again(autossh: Box, tmp_path: Path) -> None:
    """After the death of the client its command runs anew; TERM for autossh ends both."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = f"echo $$ > {fifo}; exec sleep 600"
    with subprocess.Popen(
        ["autossh", "-M", "0", "-T", "-oResume=no", "box", command],
        env=autossh.environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            first = read_number(fifo)
            (client,) = subprocess.run(
                ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
            ).stdout.split()
            os.kill(int(client), signal.SIGABRT)
            second = read_number(fifo)
            assert second != first
            wait_until_gone(first)
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
            wait_until_gone(second)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
