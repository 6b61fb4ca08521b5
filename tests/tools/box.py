"""A server as a tool's user has it: an alias in the configuration file, and ``trsh`` on the path."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.server_process import HOST, PATIENCE, running_server, wait_until_gone

__all__ = ["Box", "read_number", "running_box"]

CONFIG = """\
Host box box1 box2
    HostName {host}
    Port {port}
Host closed
    HostName {host}
    Port 1
"""


def read_number(fifo: Path) -> int:
    """Read the number that a process writes to a FIFO, in a line; fail if that takes too long."""
    fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with open(fd, "rb") as file:
        waiting = select.poll()
        waiting.register(fd, select.POLLIN)
        assert waiting.poll(PATIENCE * 1000), "nothing came"
        os.set_blocking(fd, True)
        return int(file.readline())


class Box:
    """A server, named ``box``, ``box1`` and ``box2``, and another name ``closed`` at which nothing answers.

    :ivar port: the server's port.
    :ivar trsh: the path of the client.
    :ivar environment: the environment of a tool that reaches the server through the client.
    """

    def __init__(self, folder: Path, port: int, environment: dict[str, str]) -> None:
        scripts = Path(sys.executable).parent
        self.port = port
        self.trsh = str(scripts / "trsh")
        self.environment = environment | {
            "HOME": str(folder / "home"),
            "PATH": f"{scripts}:{os.environ['PATH']}",
            "XDG_CONFIG_HOME": str(folder),
            "XDG_STATE_HOME": str(folder),
        }
        (folder / "home").mkdir(mode=0o700)
        config = folder / "twisted-rsh" / "config"
        config.write_text(CONFIG.format(host=HOST, port=port))
        config.chmod(0o600)

    def fingerprint(self) -> str:
        """Return that of the server's key."""
        record = Path(self.environment["XDG_STATE_HOME"], "twisted-rsh", "run", f"{self.port}.json")
        return str(json.loads(record.read_bytes())["spki_sha256"])

    def run(self, *words: str | Path, status: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a tool to its end.

        :param words: its command line.
        :param status: the exit status that it must have; ``None`` for any but 0.
        :param options: of ``subprocess.run``; ``env`` is added to the environment, and stdin is empty unless given.
        """
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("timeout", PATIENCE)
        environment = self.environment | options.pop("env", {})
        done = subprocess.run(list(map(str, words)), env=environment, capture_output=True, text=True, **options)
        assert done.returncode != 0 if status is None else done.returncode == status, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    def interrupt(
        self, fifo: Path, *words: str | Path, signals: tuple[int, ...] = (signal.SIGINT,), **options: Any
    ) -> int:
        """Start a tool, and press Ctrl-C when a process of it on the server has said that it runs.

        :param fifo: a path at which the process on the server writes its number; it is made here.
        :param words: the tool's command line.
        :param signals: what its process group gets, one after another.
        :param options: as for :meth:`run`.
        :returns: the tool's exit status, once the process on the server is gone.
        """
        os.mkfifo(fifo)
        environment = self.environment | options.pop("env", {})
        # A shell without job control starts what is in its background with SIGINT ignored, such as these tests.
        with subprocess.Popen(
            ["env", "--default-signal=INT", *map(str, words)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **options,
        ) as tool:
            try:
                pid = read_number(fifo)
                for number in signals:
                    os.killpg(tool.pid, number)
                status = tool.wait(PATIENCE)
                wait_until_gone(pid)
            finally:
                if tool.poll() is None:
                    os.killpg(tool.pid, signal.SIGKILL)
        return status


@contextmanager
def running_box(folder: Path, *options: str) -> Iterator[Box]:
    """Run a server for as long as the context lasts.

    :param folder: an empty folder for its files and the client's.
    :param options: more options of the server.
    """
    with running_server(folder / "twisted-rsh", options=options) as server:
        yield Box(folder, server.port, server.environment)
