"""Real processes: a server in one of its own, and the client's program against it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.soak_mode import ProxyProcess, cutting, over_socket
from twisted_rsh.trust.home import ConfigFolders

__all__ = [
    "HOST",
    "PATIENCE",
    "WRONG_PIN",
    "ServerProcess",
    "cpu_seconds",
    "cpu_ticks",
    "finish",
    "is_running",
    "needs_full",
    "one_line",
    "read_line",
    "running_server",
    "wait_until_gone",
]

PATIENCE = 60.0
"""Seconds after which a test that waits for a process has failed."""

HOST = "127.0.0.1"

WRONG_PIN = "SHA256:" + "A" * 43
"""A fingerprint that no server has."""

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


class ServerProcess:
    """A server, and how to call the client that it lets in.

    :ivar folder: where its keys and records are; a client with the same home is let in.
    :ivar port: the TCP port on 127.0.0.1 that clients dial: its own, or in soak mode that of a proxy.
    :ivar environment: for clients: no folder of the user who runs the tests is in it.
    """

    def __init__(self, folder: Path, shell: str = "/bin/sh", options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.environment = dict(os.environ, HOME=str(folder / "nobody"), LC_ALL="C.UTF-8", TERM="xterm")
        for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
            self.environment.pop(name, None)
        # Tests look at its descriptors, which it would hide from its own user.
        words = ["--port", "0", "--interface", HOST, "--shell", shell, "--config-dir", str(folder), "--debuggable"]
        words += ["--socket", "auto" if over_socket() else "off", *options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "twisted_rsh.server", *words],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self.environment,
            text=True,
        )
        assert self.process.stderr is not None
        self._log = self.process.stderr
        log: list[str] = []
        while not any("listens on" in line for line in log):
            line = self._log.readline()
            assert line, "".join(log)
            log.append(line)
        (record,) = Path(ConfigFolders.at(str(folder)).record_path(1)).parent.glob("*.json")
        self.port = int(record.stem)
        # Unread, its log would fill a pipe and stop it.
        self._reading = threading.Thread(target=self._log.read)
        self._reading.start()
        run = cutting()
        self._proxy = None if run is None else ProxyProcess(run, self.port, record.parent)
        if self._proxy is not None:
            self.port = self._proxy.port

    def command(self, *words: str, port: bool = True) -> list[str]:
        """The command line of a client of this server's own user.

        :param words: follow its options.
        :param port: whether its options lead to this server.
        """
        options = ["-p", str(self.port)] if port else []
        return [sys.executable, "-m", "twisted_rsh.client", "--config-dir", str(self.folder), *options, *words]

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a client to its end.

        :param words: its words behind the options that lead to this server.
        :param options: of ``subprocess.run``; stdin is empty unless they say otherwise.
        """
        if "stdin" not in options:
            options.setdefault("input", b"")
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        streams |= {"env": self.environment, "timeout": PATIENCE} | options
        return subprocess.run(self.command(*words), **streams)

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a client; as :meth:`run`, with a pipe on each stream."""
        streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        # Without a buffer, what is read piece by piece first is not missing at the end.
        return subprocess.Popen(self.command(*words), bufsize=0, **(streams | {"env": self.environment} | options))

    def kill(self) -> None:
        """End it as a power cut would.  May be called more than once."""
        self.process.kill()
        if self._proxy is not None:
            self._proxy.kill()
        self._end()

    def stop(self) -> None:
        """End it as a service manager would.  May be called after :meth:`kill`."""
        self.process.terminate()
        self._end()
        if self._proxy is not None:
            self._proxy.stop()

    def _end(self) -> None:
        self.process.wait(PATIENCE)
        self._reading.join(PATIENCE)
        self._log.close()


@contextmanager
def running_server(folder: Path, shell: str = "/bin/sh", options: Sequence[str] = ()) -> Iterator[ServerProcess]:
    """Run a server, with more options if they are given, for as long as the context lasts."""
    server = ServerProcess(folder, shell, options)
    try:
        yield server
    finally:
        server.stop()


def finish(client: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    """Wait for a client's end; return its status and the rest of what it wrote."""
    with client:
        stdout, stderr = client.communicate(timeout=PATIENCE)
        return client.returncode, stdout, stderr


def read_line(client: subprocess.Popen[bytes]) -> str:
    """Read one line of a client's stdout."""
    assert client.stdout is not None
    return client.stdout.readline().decode().rstrip("\n")


def one_line(stderr: bytes) -> str:
    """Check that the client said exactly one thing, and return it without its prefix."""
    text = stderr.decode()
    assert "Traceback" not in text
    assert text.startswith("trsh: ")
    assert text.endswith("\n")
    assert text.count("\n") == 1, text
    assert text[:-1].isprintable()
    return text.removeprefix("trsh: ")[:-1]


def is_running(pid: int) -> bool:
    """Tell whether a process is there, and not only its exit status."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def wait_until_gone(*pids: int) -> None:
    """Wait until processes that are not our children are gone; nothing tells us when."""
    pause = threading.Event()
    for _ in range(int(PATIENCE / 0.05)):
        if not any(map(is_running, pids)):
            return
        pause.wait(0.05)
    raise AssertionError(f"still running: {[pid for pid in pids if is_running(pid)]}")


def cpu_ticks(pid: int) -> int:
    """Return the processor time that a process has used, in the ticks that the system counts in.

    Ends the test where the system has no ``/proc``.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        pytest.skip("this system has no /proc")
    user, system = fields[11:13]
    return int(user) + int(system)


def cpu_seconds(pid: int) -> float:
    """Return the same in seconds; differences of these are not exact."""
    return cpu_ticks(pid) / os.sysconf("SC_CLK_TCK")
