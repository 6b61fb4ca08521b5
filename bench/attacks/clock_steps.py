"""``python -m bench.attacks.clock_steps``: the wall clock is set under a running server and a running client.

Each server runs under libfaketime, which gives it a wall clock that this program sets an hour forward or back while a
job waits for its time-out, another for the end of its grace, and so on.  The monotonic clock stays as it is, as it does
when an administrator or NTP sets a real clock.  Promised is that every deadline ends when it would have ended anyway.

It needs ``faketime`` (Debian: ``faketime``), Linux, and for penalties an address of this machine that is not a loopback
address; nothing is sent anywhere else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.servers.starting import OURS, Site, running
from bench.surroundings import ROOT, clean_up_when_ended, environment

__all__ = ["Figure", "main"]

HOST = "127.0.0.1"

STEPS = {"forward": 3600, "back": -3600}
"""Seconds by which the wall clock is set."""

SLACK_SECONDS = 5.0
"""Seconds by which a busy machine may be late; a deadline that follows the wall clock is an hour late."""

ROUNDING_SECONDS = 0.5
"""Seconds by which a deadline may seem early: this program sees its beginning later than the server does."""

LADDER_STEP_SECONDS = 5.0
"""Seconds between the HUP and the TERM that end a job."""

PENALTY_SECONDS = 15.0
"""Seconds of penalties from which on a source is refused; a connection without a login adds one."""

MOST_PENALTY_SECONDS = 25.0
"""The same with ten more, as many connections without a login as a source may have at once."""

MAX_OFFENCES = 100
"""Connections without a login after which a source must be refused."""

PROBE_SECONDS = 2.0
"""Seconds after which a connection that was not closed counts as let in; a busy server closes one late."""

OFFENCE_SECONDS = 0.1
"""Seconds between two connections without a login: a server sees one go before the next comes, unless it is busy."""

LAST_RETRY_SECONDS = 10.0
"""Seconds between two dials of a client at most."""

AWAY_SECONDS = 2.0
"""Seconds for which the server is out of the client's reach after the step."""

START_SECONDS = 30.0
"""Seconds that a job may take to start."""

POLL_SECONDS = 0.02

TIMED_OUT_STATUS = 124
"""The client's status for a job that ran into its time-out, as with ``timeout``."""


OTHER_USER = "nobody"
"""A user of this machine who is not the server's: a source of penalties."""

ENDED = 3
"""The exit status of :data:`SILENT_CLIENT` when the server has ended the connection."""

SILENT_CLIENT = f"""
import os, socket, sys
user, host, port, seconds, times = sys.argv[1:]
os.setuid(int(user))
for _ in range(int(times)):
    with socket.socket() as connection:
        connection.settimeout(float(seconds))
        try:
            connection.connect((host, int(port)))
            connection.recv(1)
        except TimeoutError:
            continue
        except OSError:
            pass
        sys.exit({ENDED})
"""
"""A program that becomes another user, whom the interpreter's folder may be closed to, connects some times, and waits
each time for some seconds whether the server says or does anything."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What was seen of one deadline.

    :ivar name: the deadline.
    :ivar step: how the wall clock was set: a name of :data:`STEPS`.
    :ivar seconds: the time that it took; ``None`` if it had not ended by far when the program stopped to wait.
    :ivar least: the least that is promised.
    :ivar most: the most that is promised.
    :ivar fault: one line, when it ended otherwise than it should.
    """

    name: str
    step: str
    seconds: float | None
    least: float
    most: float
    fault: str = ""

    @property
    def is_kept(self) -> bool:
        """Whether the promise was kept."""
        return self.seconds is not None and self.least <= self.seconds <= self.most and not self.fault

    def __str__(self) -> str:
        seen = "not over" if self.seconds is None else f"{self.seconds:.2f} s"
        fault = f"; {self.fault}" if self.fault else ""
        return f"{self.name}, clock set {self.step}: {seen}, promised {self.least:g} to {self.most:g} s{fault}"


class WallClock:
    """The wall clock of the processes that are started with its environment.

    :param path: a file of its own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.step(0)
        preload = subprocess.run(
            ["faketime", "-m", "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        self.environment = {
            "LD_PRELOAD": preload,
            "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def step(self, seconds: int) -> None:
        """Set it.

        :param seconds: its distance from the real wall clock.
        """
        new = self._path.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._path)


class Gate:
    """A way to a port of this machine that can be closed.  It is open at first."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._sockets: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        """Let connections in."""
        listener = socket.create_server((HOST, self.port))
        self.port = listener.getsockname()[1]
        self._sockets.append(listener)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def close(self) -> None:
        """Cut all connections, and refuse others."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._sockets.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection((HOST, self._target))
                self._sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_RDWR)


class Attack:
    """One server, whose wall clock is set once, and what is seen of its deadlines.

    :param folder: a folder of its own.
    :param step: a name of :data:`STEPS`.
    :param seconds: the deadlines that an option or a request chooses.
    """

    def __init__(self, folder: Path, step: str, seconds: float) -> None:
        self._folder = folder
        self._step = step
        self._seconds = seconds
        self._clock = WallClock(folder / "clock")
        self._port = 0
        self._ready = self._begun = threading.Barrier(1)
        self._set_at = 0.0

    def run(self, observers: Sequence[Callable[[Attack], Figure]]) -> list[Figure]:
        """Begin all deadlines, set the clock, and wait for their ends.

        :param observers: the methods of this class that look at one deadline each.
        """
        interval = str(self._seconds / 3)
        options = ["--login-timeout", str(self._seconds), "--keepalive", interval]
        site = Site(  # noqa: S604 - `shell` is a name
            folder=str(self._folder),
            shell="/bin/sh",
            server_options=options,
            environment=self._clock.environment,
        )
        self._ready = threading.Barrier(len(observers), timeout=2 * START_SECONDS)
        self._begun = threading.Barrier(len(observers), self._set_clock, timeout=START_SECONDS)
        with running(OURS, site) as (_, self._port), ThreadPoolExecutor(len(observers)) as pool:
            return list(pool.map(lambda observe: observe(self), observers))

    def _set_clock(self) -> None:
        self._clock.step(STEPS[self._step])
        self._set_at = time.monotonic()

    # One deadline each.

    def time_out(self) -> Figure:
        """Let a job run into its time-out."""
        seconds = 2 * self._seconds  # the other clients start meanwhile
        with self._client("exec sleep 300", "--timeout", str(seconds)) as (client, pid):
            began = time.monotonic()
            self._ready.wait()
            self._begun.wait()
            seen = _seconds_until(lambda: not _exists(pid), began, seconds)
            fault = _fault(client, seen, TIMED_OUT_STATUS, b"", f"timed out after {seconds:g} s")
        return self._figure("a job's time-out", began, seen, seconds, fault=fault)

    def grace(self) -> Figure:
        """Let the grace of a job end whose client was killed."""
        with self._client("exec sleep 300", "--on-disconnect", f"grace:{self._seconds:g}") as (client, pid):
            self._ready.wait()
            client.kill()
            began = time.monotonic()
            self._begun.wait()
            seconds = _seconds_until(lambda: not _exists(pid), began, self._seconds)
        return self._figure("the grace of a job without a client", began, seconds, self._seconds)

    def ladder(self) -> Figure:
        """Let the kill ladder end a job that ignores its first step."""
        command = "trap '' HUP; while :; do sleep 1; done"
        with self._client(command, "--on-disconnect", "kill") as (client, pid):
            self._ready.wait()
            client.kill()
            began = time.monotonic()
            self._begun.wait()
            seconds = _seconds_until(lambda: not _exists(pid), began, LADDER_STEP_SECONDS)
        return self._figure("the kill ladder", began, seconds, LADDER_STEP_SECONDS)

    def keepalive(self) -> Figure:
        """Let the server find out that a client has fallen silent."""
        with self._client("exec sleep 300", "--on-disconnect", "kill") as (client, pid):
            self._ready.wait()
            client.send_signal(signal.SIGSTOP)
            began = time.monotonic()
            self._begun.wait()
            seconds = _seconds_until(lambda: not _exists(pid), began, self._seconds)
            client.send_signal(signal.SIGCONT)
        # The last sign of life may be as old as one interval.
        return self._figure("a client's silence", began, seconds, self._seconds * 2 / 3, self._seconds)

    def login(self) -> Figure:
        """Let the server end a connection that says nothing."""
        self._ready.wait()
        with socket.create_connection((HOST, self._port)) as stranger:
            began = time.monotonic()
            self._begun.wait()
            stranger.settimeout(self._seconds + SLACK_SECONDS)
            try:
                ended = stranger.recv(1) == b""
            except TimeoutError:
                ended = False
            except OSError:
                ended = True
            seconds = time.monotonic() - began if ended else None
        return self._figure("a silent connection's login", began, seconds, self._seconds)

    def penalty(self) -> Figure:
        """Let the penalty of a source end."""
        self._ready.wait()
        if self._connect_as_other(OFFENCE_SECONDS, MAX_OFFENCES) != ENDED:
            raise RuntimeError("the server does not refuse a source that misbehaves")
        began = time.monotonic()
        self._begun.wait()
        seconds = _seconds_until(lambda: not self._is_refused(), began, MOST_PENALTY_SECONDS)
        # What the source did at the same time as the offence that reached the minimum counts too.
        return self._figure("a source's penalty", began, seconds, PENALTY_SECONDS, MOST_PENALTY_SECONDS)

    def search(self) -> Figure:
        """Let a client, whose clock is set too, find the server again after an outage."""
        gate = Gate(self._port)
        go = self._folder / "go"
        command = f"while [ ! -e {go} ]; do sleep 0.1; done; echo done"
        with self._client(command, *self._pin(), port=gate.port, wrong_clock=True) as (client, _):
            self._ready.wait()
            gate.close()
            self._begun.wait()
            go.touch()
            time.sleep(AWAY_SECONDS)
            gate.open()
            began = time.monotonic()
            seconds = _seconds_until(lambda: client.poll() is not None, began, LAST_RETRY_SECONDS)
            gate.close()
            fault = _fault(client, seconds, 0, b"done\n", "")
        return self._figure("a client's search for its server", began, seconds, 0, LAST_RETRY_SECONDS, fault)

    def _figure(
        self, name: str, began: float, seconds: float | None, least: float, most: float | None = None, fault: str = ""
    ) -> Figure:
        most = (least if most is None else most) + SLACK_SECONDS
        if seconds is not None and began + seconds < self._set_at:
            fault = "it was over before the clock was set, which shows nothing; run this on a less busy machine"
        return Figure(name, self._step, seconds, max(least - ROUNDING_SECONDS, 0), most, fault)

    @contextlib.contextmanager
    def _client(
        self, command: str, *options: str, port: int | None = None, wrong_clock: bool = False
    ) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """Run a client while a block lasts, and begin the block when its job runs; yield the client and the job."""
        mark = self._folder / f"job-{threading.get_ident()}"
        words = [sys.executable, "-m", "twisted_rsh.client", "--config-dir", str(self._folder)]
        words += [
            "-p",
            str(port or self._port),
            *options,
            HOST,
            f"echo $$ >{mark}.new; mv {mark}.new {mark}; {command}",
        ]
        variables: Mapping[str, str] = self._clock.environment if wrong_clock else {}
        pipe = subprocess.PIPE
        with subprocess.Popen(
            words,
            cwd=ROOT,
            env={**environment(str(self._folder)), **variables},
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
        ) as client:
            try:
                if _seconds_until(mark.exists, time.monotonic(), START_SECONDS) is None:
                    raise RuntimeError("a job did not start")
                yield client, int(mark.read_text())
            finally:
                client.kill()

    def _pin(self) -> tuple[str, str]:
        record = json.loads((self._folder / "run" / f"{self._port}.json").read_text())
        return "--fingerprint", record["spki_sha256"]

    def _is_refused(self) -> bool:
        """Tell whether the server ends a connection of another user at once."""
        return self._connect_as_other(PROBE_SECONDS) == ENDED

    def _connect_as_other(self, seconds: float, times: int = 1) -> int:
        """Connect as another user, who is a source of penalties, and say nothing for some seconds, some times."""
        user = str(pwd.getpwnam(OTHER_USER).pw_uid)
        words = [sys.executable, "-S", "-c", SILENT_CLIENT, user, HOST, str(self._port), str(seconds), str(times)]
        return subprocess.run(words, stderr=subprocess.DEVNULL).returncode


def _seconds_until(condition: Callable[[], bool], began: float, promised: float) -> float | None:
    """Wait for a condition; return the seconds since a deadline began, or ``None`` when it is late beyond the slack."""
    while not condition():
        if time.monotonic() > began + promised + 2 * SLACK_SECONDS:
            return None
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


def _fault(client: subprocess.Popen[bytes], seconds: float | None, status: int, output: bytes, words: str) -> str:
    """Compare the end of a client with what it should be; return a line about the difference, or an empty one."""
    if seconds is None:
        return ""
    stdout, stderr = client.communicate(timeout=START_SECONDS)
    said = stderr.decode(errors="replace").strip()
    if (client.returncode, stdout) == (status, output) and words in said:
        return ""
    return f"the client ended with {client.returncode}, {stdout!r} and {said!r}"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.attacks.clock_steps", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only back, shorter deadlines, no ladder and no penalty")
    parser.add_argument("--json", metavar="FILE", help="write all figures to a file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the attack and print what was seen.

    :param arguments: the words of the command line; ``None`` for this process's own.
    :returns: the exit status: 1 when a promise was broken, 2 when ``faketime`` is not installed.
    """
    options = _options(arguments)
    if shutil.which("faketime") is None:
        print("faketime is not installed; on Debian: apt-get install faketime", file=sys.stderr)
        return 2
    clean_up_when_ended()
    observers = [Attack.time_out, Attack.grace, Attack.keepalive, Attack.login, Attack.search]
    if not options.quick:
        observers.append(Attack.ladder)
        if os.geteuid() != 0:
            print("a source's penalty: not seen, because only root can be another user")
        else:
            observers.append(Attack.penalty)
    steps = ["back"] if options.quick else list(STEPS)
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(len(steps)) as pool:
        folders = [Path(name) / step for step in steps]
        for folder in folders:
            folder.mkdir(mode=0o700)
        attacks = [
            Attack(folder, step, 3.0 if options.quick else 6.0) for folder, step in zip(folders, steps, strict=True)
        ]
        figures = [figure for seen in pool.map(lambda attack: attack.run(observers), attacks) for figure in seen]
    print(*figures, sep="\n")
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(figure) | {"kept": figure.is_kept} for figure in figures]))
    return 0 if all(figure.is_kept for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
