"""Attacks what a job leaves behind when it is cut short: ``python -m bench.attacks.orphans [--quick]``.

Attacked are trees of processes: a shell with children in its group, in sessions of their own, forked twice, and (not
with ``--quick``) deaf to HUP, INT and TERM.  Each is ended in another way: a signal for the client, a time-out, the
client is killed, the server is stopped, the server is killed, the server is killed after its guardian was.
Promised is that none of the processes is left when the kill ladder is over.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bench.processes import children
from bench.servers.starting import OURS, Site, running
from bench.surroundings import ROOT, clean_up_when_ended, environment, prepare

__all__ = ["main"]

GONE_SECONDS = 20.0
"""Seconds within which nothing may be left: the second that a signal of the client's has to act, the ladder's ten, the
two of its last step, a guardian's look once a second, and a busy machine."""

START_SECONDS = 30.0
"""Seconds that the jobs, or a guardian, may take to start."""

DETACH_SECONDS = 1
"""Seconds for which the server waits for a client that was killed."""

POLL_SECONDS = 0.05
"""Seconds between two looks at what is left."""

MARK = "RSH_ORPHAN"
"""The variable by which this program finds the processes."""

AT_ONCE = 3
"""Attacks that are made together, each on a server of its own."""

TREE = "sleep 600 & setsid sleep 600 & (setsid sh -c 'sleep 600 & sleep 600' &); {ready}sleep 600"
"""The job: its shell, two children in its group, one in a session of its own, and a daemon with a child."""

READY = "echo ready; "
"""Tells that the job runs."""

DEAF = "setsid sh -c 'trap \"\" HUP INT TERM; echo ready; while :; do sleep 0.2; done' & "
"""One more process, which only KILL ends; it tells that the job runs when that is so."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""The signals that the client passes on and that end a job."""


@dataclass
class _Attack:
    """Some jobs on one server.

    :ivar folder: of the keys.
    :ivar server: the server's process.
    :ivar port: its TCP port.
    :ivar tree: the command of each job.
    :ivar mark: names the jobs' processes.
    :ivar struck_at: the time of the last :meth:`strike`, on the monotonic clock.
    """

    folder: str
    server: int
    port: int
    tree: str
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    struck_at: float = 0.0

    @contextlib.contextmanager
    def client(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a job by a client while a block lasts; the job runs when the block begins."""
        command = [sys.executable, "-m", "twisted_rsh.client", "--config-dir", self.folder, "-p", str(self.port)]
        words = [*command, *options, "127.0.0.1", f"{MARK}={self.mark} exec sh -c {_quoted(self.tree)}"]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        with subprocess.Popen(
            words, cwd=ROOT, env=environment(self.folder), stdin=null, stdout=pipe, stderr=null
        ) as client:
            try:
                assert client.stdout is not None
                if client.stdout.readline() != b"ready\n":
                    raise RuntimeError("a job did not start")
                yield client
            finally:
                client.kill()

    def strike(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal a process; from now on the time counts."""
        self.struck_at = time.monotonic()
        os.kill(pid, number)

    def left(self) -> list[int]:
        """Find the processes that are left of the jobs."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if f"{MARK}={self.mark}".encode() in file.read().split(b"\0"):
                    found.append(int(name))
        return found

    def is_gone(self) -> bool:
        """Wait until nothing is left, and return whether that came true in time."""
        seconds = self.struck_at + GONE_SECONDS - time.monotonic()
        return _wait(lambda: not self.left(), seconds)

    def guardian(self) -> int | None:
        """Find the server's guardian."""
        for pid in children(self.server):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
                if b"twisted-rsh-guardian" in file.read().split(b"\0"):
                    return pid
        return None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _wait(condition: Callable[[], object], seconds: float) -> bool:
    """Wait for a condition; return whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _signal(attack: _Attack, number: signal.Signals) -> None:
    with attack.client() as client:
        attack.strike(client.pid, number)
        attack.is_gone()


def _time_out(attack: _Attack) -> None:
    with attack.client("--timeout", "0.5"):
        attack.struck_at = time.monotonic()
        attack.is_gone()


def _lose_client(attack: _Attack) -> None:
    with attack.client() as client:
        attack.strike(client.pid)


def _stop_server(attack: _Attack) -> None:
    with attack.client():
        attack.strike(attack.server, signal.SIGTERM)
        attack.is_gone()


def _kill_server(attack: _Attack) -> None:
    with attack.client("--no-resume"):
        attack.strike(attack.server)


def _kill_guardian_and_server(attack: _Attack) -> None:
    with attack.client("--no-resume"):
        first = attack.guardian()
        if first is None:
            raise RuntimeError("the server has no guardian")
        os.kill(first, signal.SIGKILL)
        if not _wait(lambda: attack.guardian() not in (None, first), START_SECONDS):
            raise RuntimeError("the server did not replace its guardian")
        attack.strike(attack.server)


def _kinds() -> dict[str, Callable[[_Attack], None]]:
    signals = {f"client gets {number.name}": _signal_of(number) for number in SIGNALS}
    return {
        **signals,
        "time-out": _time_out,
        "client is killed": _lose_client,
        "server is stopped": _stop_server,
        "server is killed": _kill_server,
        "guardian, then server is killed": _kill_guardian_and_server,
    }


def _signal_of(number: signal.Signals) -> Callable[[_Attack], None]:
    return lambda attack: _signal(attack, number)


def _run(folder: str, tree: str, kind: str, act: Callable[[_Attack], None]) -> bool:
    """Make one attack, on a server of its own; print the figure, and return whether the promise was kept."""
    os.mkdir(folder, 0o700)
    prepare(folder)
    shell = "/bin/sh"
    site = Site(folder=folder, shell=shell, server_options=("--detach-timeout", str(DETACH_SECONDS)))
    with running(OURS, site) as (server, port):
        attack = _Attack(folder, server, port, tree)
        try:
            act(attack)
            is_gone = attack.is_gone()
            seconds = time.monotonic() - attack.struck_at
        finally:
            left = attack.left()
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    print(f"{kind}: {len(left)} processes left after {seconds:.1f} s, promised 0 within {GONE_SECONDS:g} s", flush=True)
    return is_gone


def main(arguments: Sequence[str] | None = None) -> None:
    """Attack and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: always: with status 1 when a process was left.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.attacks.orphans", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one signal, and no process that is deaf to signals")
    options = parser.parse_args(arguments)
    clean_up_when_ended()
    kinds = _kinds()
    if options.quick:
        kept = ("client gets SIGINT", "guardian, then server is killed")
        kinds = {kind: act for kind, act in kinds.items() if kind in kept}
    tree = TREE.format(ready=READY if options.quick else DEAF)
    with tempfile.TemporaryDirectory(prefix="rshattack-") as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        attacks = [
            pool.submit(_run, os.path.join(folder, str(number)), tree, kind, act)
            for number, (kind, act) in enumerate(kinds.items())
        ]
        are_kept = [attack.result() for attack in attacks]
    raise SystemExit(0 if all(are_kept) else 1)


if __name__ == "__main__":
    main()
