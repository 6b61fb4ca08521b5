"""``python -m bench.attacks.silent_storm [--quick]``: connections that say nothing, while honest clients log in.

Attacked: the room for connections that have not logged in.  A process of another user of this machine opens 20
connections a second on loopback and keeps each one, or 500 at once and then 20 a second.  Promised: every one of 54
clients of the server's own user gets in, within ten seconds each.  Then a process of the same user does the same: it
is inside the server's trust, so nothing is promised, and the figures are only told.  Another user takes root; without
it that half is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from bench.processes import usage
from bench.servers.starting import OURS, Site, running
from bench.surroundings import clean_up_when_ended, prepare, server_fingerprint
from twisted_rsh import Error, connect
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["main"]

OTHER_USER = "nobody"
CLIENTS = 54
RATE = 20
"""Connections a second."""

LEAD_SECONDS = 3.0
"""Seconds that the attack has before the first client."""

PROMISED_SECONDS = 10.0
"""Seconds from the start of a client's connection to its login, at most, also while the machine is busy."""

LIMIT_SECONDS = 45.0
"""Seconds for all clients of one attack; those that are not in by then count as kept out."""

_ATTACKER = """
import encodings.idna, os, selectors, socket, sys, time
uid, port, rate, burst, seconds = int(sys.argv[1]), *map(float, sys.argv[2:])
if uid != os.geteuid():
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
selector = selectors.DefaultSelector()
opened = 0
def open_one():
    global opened
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(("127.0.0.1", int(port)))
    selector.register(one, selectors.EVENT_READ)
    opened += 1
began = time.monotonic()
for _ in range(int(burst)):
    open_one()
while (now := time.monotonic() - began) < seconds:
    if opened - burst < now * rate:
        open_one()
    for key, _ in selector.select(0.01):
        try:
            if key.fileobj.recv(4096):
                continue
        except OSError:
            pass
        selector.unregister(key.fileobj)
        key.fileobj.close()
"""


@dataclass(frozen=True, slots=True)
class _Attack:
    """One attack.

    :ivar uid: the attacker.
    :ivar burst: connections at once, before the steady ones.
    :ivar promised: whether every client gets in.
    """

    uid: int
    burst: int
    promised: bool

    @property
    def name(self) -> str:
        """A name for people."""
        who = "another user" if self.promised else "the same user"
        return f"{who}, {self.burst} at once and {RATE}/s" if self.burst else f"{who}, {RATE}/s"


@dataclass(slots=True)
class _Outcome:
    """What the clients saw.

    :ivar waits: the seconds that each login took.
    :ivar failures: one line for each client that did not get in.
    """

    waits: list[float]
    failures: list[str]


@contextlib.contextmanager
def _attacking(attack: _Attack, port: int, seconds: float) -> Iterator[None]:
    words = [str(attack.uid), str(port), str(RATE), str(attack.burst), str(seconds)]
    with subprocess.Popen([sys.executable, "-S", "-c", _ATTACKER, *words]) as process:
        try:
            yield
            if process.poll() is not None:
                raise RuntimeError("the attacker ended before the clients")
        finally:
            process.kill()


async def _log_in(reactor: Any, folder: str, port: int, count: int, seconds: float) -> _Outcome:
    """Let clients come, evenly spread over some seconds."""
    outcome = _Outcome([], [])
    config, fingerprint = ConfigFolders.at(folder), server_fingerprint(folder)

    async def one(number: int) -> None:
        await deferLater(reactor, number * seconds / count)
        began = time.monotonic()
        try:
            connecting = connect(reactor, "127.0.0.1", port, config=config, fingerprint=fingerprint)
            connection = await connecting.addTimeout(LIMIT_SECONDS, reactor)
            outcome.waits.append(time.monotonic() - began)
            await connection.close()
        except (Error, OSError) as error:
            outcome.failures.append(str(error))
        except Exception as error:  # noqa: BLE001 - such as a time-out; it is reported
            outcome.failures.append(repr(error))

    await gatherResults([Deferred.fromCoroutine(one(number)) for number in range(count)])
    return outcome


async def _run(reactor: Any, attack: _Attack, clients: int, seconds: float, lead: float) -> bool:
    """Run one attack against a server of its own, and tell what happened; return whether the promise was kept."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rshbench-"))
        prepare(folder)
        shell = "/bin/sh"
        # So many that it is the logins that are bounded, and not the sessions after them.
        options = ("--max-sessions-per-key", str(2 * clients))
        pid, port = stack.enter_context(running(OURS, Site(folder=folder, shell=shell, server_options=options)))
        first = await connect(reactor, "127.0.0.1", port, config=ConfigFolders.at(folder))  # makes the client's key
        await first.close()
        stack.enter_context(_attacking(attack, port, 4 * LIMIT_SECONDS))
        await deferLater(reactor, lead)
        before, began = usage(pid), time.monotonic()
        outcome = await _log_in(reactor, folder, port, clients, seconds)
        after, took = usage(pid), time.monotonic() - began
    promised = f", promised {clients}" if attack.promised else ""
    print(f"{attack.name}: {len(outcome.waits)} of {clients} clients got in{promised}")
    if outcome.waits:
        waits = sorted(outcome.waits)
        limit = f", promised {PROMISED_SECONDS:.0f} s" if attack.promised else ""
        print(f"{attack.name}: login: median {waits[len(waits) // 2]:.2f} s, longest {waits[-1]:.2f} s{limit}")
    if before and after:
        print(f"{attack.name}: server: {100 * (after.cpu_s - before.cpu_s) / took:.0f} % of a processor")
    for line in sorted(set(outcome.failures)):
        print(f"{attack.name}: kept out: {outcome.failures.count(line)} times: {line}")
    kept = not outcome.failures and max(outcome.waits) <= PROMISED_SECONDS
    return kept or not attack.promised


def _attacks(quick: bool) -> list[_Attack]:
    bursts = (500,) if quick else (0, 500)
    attacks = []
    if os.geteuid() == 0:
        attacks += [_Attack(pwd.getpwnam(OTHER_USER).pw_uid, burst, promised=True) for burst in bursts]
    else:
        print("another user: left out, only root can become one")
    if not quick or not attacks:
        attacks += [_Attack(os.geteuid(), burst, promised=False) for burst in bursts]
    return attacks


def main(arguments: Sequence[str] | None = None) -> None:
    """Attack and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: always: with status 1 when the promise was broken.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.attacks.silent_storm", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one attack, fewer clients")
    quick = parser.parse_args(arguments).quick
    clean_up_when_ended()

    async def run(reactor: Any) -> None:
        kept = True
        for attack in _attacks(quick):
            clients, seconds, lead = (18, 1.0, 0.5) if quick else (CLIENTS, 6.0, LEAD_SECONDS)
            kept &= await _run(reactor, attack, clients, seconds, lead)
        if not kept:
            raise SystemExit(1)

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main(sys.argv[1:])
