"""Runs the real programs as a user would: servers and clients as processes of their own, in folders of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.soak_mode import ProxyProcess, cutting, over_socket

__all__ = [
    "CLIENT_SECONDS",
    "DAEMON",
    "SCRIPTS",
    "START_SECONDS",
    "STOP_SECONDS",
    "TWISTD",
    "WAYS",
    "RunningServer",
    "StartWay",
    "assert_one_line",
    "group_exists",
    "own_environment",
    "require",
    "running_server",
    "unmeasured",
    "wait_until",
]

SCRIPTS = Path(sys.executable).parent
"""The folder of the installed programs: those of the environment that runs the tests."""

START_SECONDS = 30.0
"""Seconds that a server has to say where it listens; it takes one, on a machine that does nothing else."""

STOP_SECONDS = 15.0
"""Seconds that a server has to end after SIGTERM (O-09): the kill ladder takes ten."""

CLIENT_SECONDS = 60.0
"""Seconds that a client has for a command, unless a test says otherwise; they take one or two."""

POLL_SECONDS = 0.02
"""Seconds between two looks at something that has no event to wait for."""


_KEPT = ("PATH", "PYTHONPATH")
"""The folder of the programs, and of the package that is tested."""


@dataclass(frozen=True, slots=True)
class StartWay:
    """One way to start the server.

    :ivar command: the program, up to where its own options begin.
    :ivar status: its exit status after SIGTERM; twistd and twist end themselves by the signal that they got.
    """

    command: tuple[str, ...]
    status: int


TWISTD = StartWay((str(SCRIPTS / "twistd"), "-n", "--pidfile=", "rsh"), -signal.SIGTERM)
DAEMON = StartWay((str(SCRIPTS / "twistd"), "--pidfile=twistd.pid", "--logfile=twistd.log", "rsh"), 0)
"""Goes to the background; its files are in the folder that it is started in."""

WAYS = {
    "twistd": TWISTD,
    "twist": StartWay((str(SCRIPTS / "twist"), "rsh"), -signal.SIGTERM),
    "module": StartWay((sys.executable, "-m", "twisted_rsh.server"), 0),
}
"""The ways to start it in the foreground."""


def require(condition: object, reason: str) -> None:
    """Go on if a condition holds; else end the test: skipped on a developer's machine, failed where ``CI`` is set."""
    if not condition:
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and with CI set no test may be skipped")
        pytest.skip(reason)


def own_environment(folder: Path, **changes: str) -> dict[str, str]:
    """Make the environment of a user with a home folder of the test's, without anything of the real user's.

    :param folder: ``HOME``.
    :param changes: variables to add.
    """
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("COVERAGE_")}
    return {**kept, "HOME": str(folder), "LANG": "C.UTF-8", **changes}


def unmeasured(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out of an environment what has coverage measure each Python process, which doubles the time of its start.

    For programs that start many clients, and run nothing of them that other tests do not run as well.
    """
    return {name: value for name, value in environment.items() if not name.startswith("COVERAGE_")}


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until a condition is true that has no event; fail if that takes too long.

    :param what: what is waited for, for the failure.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(POLL_SECONDS)


def group_exists(pid: int) -> bool:
    """Tell whether any process of a process group is there."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def assert_one_line(output: bytes, *parts: str) -> None:
    """Check a message for people: one line, no Python, with these parts in it."""
    text = output.decode()
    assert text.count("\n") == 1, text
    assert text.endswith("\n"), text
    assert "Traceback" not in text, text
    for part in parts:
        assert part in text, text


@dataclass
class RunningServer:
    """A server in a process of its own; :func:`running_server` makes one.

    :ivar process: the process.
    :ivar way: how it was started.
    :ivar config: its ``--config-dir``, or what stands for it.
    :ivar records: the folder of its record.
    :ivar log: the file that has its stdout and stderr.
    :ivar environment: of the server, and of clients unless said otherwise.
    :ivar port: the TCP port that clients dial: its own, or in soak mode that of a proxy.
    :ivar fingerprint: of its key.
    :ivar proxy: before it, in soak mode.
    """

    process: subprocess.Popen[bytes]
    way: StartWay
    config: Path
    records: Path
    log: Path
    environment: Mapping[str, str]
    port: int = field(default=0, init=False)
    fingerprint: str = field(default="", init=False)
    proxy: ProxyProcess | None = field(default=None, init=False)

    def wait_for_record(self) -> None:
        """Wait until the server says where it listens."""

        def is_there() -> bool:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.log_text()}"
            for path in self._records():
                record = json.loads(path.read_bytes())
                if record["pid"] == self.process.pid:
                    self.port, self.fingerprint = int(path.stem), record["spki_sha256"]
            return self.port != 0

        wait_until(is_there, START_SECONDS, "the record of the server")
        run = cutting()
        if run is not None:
            self.proxy = ProxyProcess(run, self.port, self.records)
            self.port = self.proxy.port

    def log_text(self) -> str:
        """The output so far."""
        return self.log.read_text(errors="replace")

    def client(self, *words: str | bytes, options: Sequence[str] = ()) -> list[str | bytes]:
        """Make the command line of a client.

        :param words: the command; none for a script on stdin.
        :param options: the client's own.
        """
        trsh = str(SCRIPTS / "trsh")
        return [trsh, "--config-dir", str(self.config), "-p", str(self.port), *options, "127.0.0.1", *words]

    def run(
        self,
        *words: str | bytes,
        options: Sequence[str] = (),
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        seconds: float = CLIENT_SECONDS,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a client to its end.  Whatever happens, it must not show anything of Python."""
        done = subprocess.run(
            self.client(*words, options=options),
            input=stdin,
            capture_output=True,
            env=self.environment if environment is None else environment,
            timeout=seconds,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return done

    @contextlib.contextmanager
    def running_client(self, *words: str | bytes, options: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
        """Run a client with pipes while a block lasts; at the end of the block it is killed if it is still there."""
        command = self.client(*words, options=options)
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=self.environment) as client:
            try:
                yield client
            finally:
                client.kill()

    def stop(self) -> None:
        """End it by SIGTERM, and check that it ends in time, as it should, and without a fault in its log."""
        self.process.terminate()
        assert self.process.wait(STOP_SECONDS) == self.way.status, self.log_text()
        assert "Traceback" not in self.log_text(), self.log_text()
        if self.proxy is not None:
            self.proxy.stop()
        assert not self._records(), "it left its record"

    def kill(self) -> None:
        """End it by SIGKILL; its record stays."""
        self.process.kill()
        self.process.wait()
        if self.proxy is not None:
            self.proxy.kill()

    def _records(self) -> list[Path]:
        return list(self.records.glob("*.json"))


@contextlib.contextmanager
def running_server(
    folder: Path,
    *options: str,
    way: StartWay = TWISTD,
    config: Path | None = None,
    xdg: bool = False,
    environment: Mapping[str, str] | None = None,
    umask: int = -1,
    cwd: Path | None = None,
) -> Iterator[RunningServer]:
    """Run a server while a block lasts; then stop it, and check how it ended, unless the test has ended it itself.

    :param folder: a folder of the test's, for its log and the users' ``HOME``.
    :param options: of the server.  It has no Unix socket unless they name one, or everything is where ``HOME`` says.
    :param config: its ``--config-dir``; ``None`` for a new one in the folder.
    :param xdg: whether to pass no ``--config-dir`` at all, so that everything is where ``HOME`` says.
    :param environment: of the process; ``None`` for one of its own.
    :param umask: of the process; -1 for the test's own.
    :param cwd: where it is started; ``None`` for the folder.
    """
    environment = own_environment(folder) if environment is None else environment
    config = folder / "rsh" if config is None else config
    records = folder / ".local" / "state" / "twisted-rsh" / "run" if xdg else config / "run"
    command = [*way.command, *([] if xdg else ["--config-dir", str(config)])]
    if not (xdg or over_socket() or "--socket" in options):
        command += ["--socket", "off"]
    if "--port" not in options:
        command += ["--port", "0"]
    log = folder / f"server-{len(list(folder.glob('server-*.log')))}.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*command, *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            umask=umask,
            cwd=folder if cwd is None else cwd,
        ) as process,
    ):
        server = RunningServer(process, way, config, records, log, environment)
        try:
            server.wait_for_record()
            yield server
            if process.poll() is None:
                server.stop()
        finally:
            process.kill()
            if server.proxy is not None:
                server.proxy.kill()
