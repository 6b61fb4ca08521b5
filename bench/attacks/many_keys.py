"""``python -m bench.attacks.many_keys``: logins at a server with a long file of keys.

Attacked is the time that the server takes for each login, refused or not, while a client that is logged in works.
Promised is that a refused login costs the server no more processor time with 2,500 keys than with one, and that a file
that keeps changing holds up no other client.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from bench.processes import usage
from bench.servers.starting import OURS, Site, running
from bench.surroundings import clean_up_when_ended, environment, prepare
from twisted_rsh import Connection, LoginRefused, connect
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import load_or_create_server_key
from twisted_rsh.trust.ssh_wire import encode_string

__all__ = ["main"]

KEYS = 2_500
"""Lines of the long file, each with options of its own."""

SECONDS = 15.0
QUICK_SECONDS = 1.0
"""Seconds of each part of the attack, and with ``--quick``."""

AT_ONCE = 4
"""Logins under way at once."""

PAUSE_SECONDS = 0.02
"""Seconds between two pings."""

MOST_MORE_MS = 20.0
"""Promised: ms of the server's processor time that a refused login with many keys may take beyond one with one key.
The system counts in ticks of 10 ms; to parse the file each time takes 60 ms more."""

MOST_PING_MS = 250.0
"""Promised: the longest ping, in ms.  It includes the turns of other processes on a busy machine."""

WAIT_SECONDS = 60.0
"""Seconds that a process may take to begin."""

OPTIONS = ("--no-penalties",)
"""Many refused logins are this attack's own."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one part of the attack saw.

    :ivar per_second: logins.
    :ivar cpu_ms: processor time of the server for each.
    :ivar ping_ms: the longest ping of another client meanwhile.
    """

    per_second: float
    cpu_ms: float
    ping_ms: float


@functools.cache
def _lines(count: int) -> bytes:
    lines = []
    for number in range(count):
        blob = encode_string(b"ssh-ed25519") + encode_string(number.to_bytes(32, "little"))
        options = b'restrict,from="10.%d.0.0/16",command="rrsync /srv/%d" ' % (number % 256, number)
        lines.append(options + b"ssh-ed25519 " + base64.b64encode(blob) + b" user%d@some-host\n" % number)
    return b"".join(lines)


def _write_keys(folder: str, count: int, last: int = 0) -> None:
    path = ConfigFolders.at(folder).authorized_keys_path
    temporary = f"{path}.new"
    with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(_lines(count) + b"# %d\n" % last)
    os.replace(temporary, path)


async def _ping(reactor: Any, connection: Connection, until: float) -> float:
    """Send a byte through a job again and again; return the longest time in ms."""
    job = connection.start("exec cat")
    worst = 0.0
    while time.monotonic() < until:
        began = time.monotonic()
        await job.stdin.write(b"x")
        await job.stdout.read()
        worst = max(worst, time.monotonic() - began)
        await deferLater(reactor, PAUSE_SECONDS)
    await job.close()
    return worst * 1000


async def _log_in(reactor: Any, folder: str, port: int, fingerprint: str, seconds: float, *, granted: bool) -> int:
    """Log in again and again, and return how often."""
    config = ConfigFolders.at(folder)
    until = time.monotonic() + seconds

    async def repeat() -> int:
        count = 0
        while time.monotonic() < until:
            try:
                connection = await connect(reactor, "127.0.0.1", port, config=config, fingerprint=fingerprint)
            except LoginRefused:
                if granted:
                    raise
            else:
                await connection.close()
                if not granted:
                    raise RuntimeError("a key that is in no file has logged in")
            count += 1
        return count

    return sum(await gatherResults([Deferred.fromCoroutine(repeat()) for _ in range(AT_ONCE)]))


def _logins(folder: str, words: Sequence[str]) -> subprocess.Popen[str]:
    """Start a process that logs in; this one only pings."""
    command = [sys.executable, "-m", "bench.attacks.many_keys", "--log-in", *words]
    return subprocess.Popen(command, env=environment(folder), stdout=subprocess.PIPE, text=True)


async def _part(
    reactor: Any, folder: str, client: str, pid: int, port: int, seconds: float, *, granted: bool, changing: bool
) -> _Seen:
    """Log in with one key for some seconds; ping meanwhile."""
    fingerprint = load_or_create_server_key(ConfigFolders.at(folder)).fingerprint
    connection = await connect(reactor, "127.0.0.1", port, config=ConfigFolders.at(folder), fingerprint=fingerprint)
    process = _logins(folder, [client, str(port), fingerprint, str(seconds), "granted" if granted else "refused"])
    assert process.stdout is not None
    try:
        process.stdout.readline()  # it begins
        before = usage(pid)
        began = time.monotonic()
        pinging = Deferred.fromCoroutine(_ping(reactor, connection, began + seconds))
        change = 0
        while changing and time.monotonic() < began + seconds:
            change += 1
            _write_keys(folder, KEYS, change)
            await deferLater(reactor, 0.2)
        ping = await pinging
        count = int(process.stdout.readline())
        after = usage(pid)
    finally:
        process.stdout.close()
        process.terminate()
        process.wait(WAIT_SECONDS)
    await connection.close()
    assert before is not None and after is not None
    return _Seen(count / (time.monotonic() - began), (after.cpu_s - before.cpu_s) * 1000 / max(count, 1), ping)


async def _attack(reactor: Any, folder: str, pid: int, port: int, *, quick: bool) -> bool:
    """Attack, report, and return whether all promises were kept."""
    seconds = QUICK_SECONDS if quick else SECONDS
    with tempfile.TemporaryDirectory(prefix="rshbench-") as stranger:
        parts = (
            ("1 key, refused", 1, stranger, False, False),
            (f"{KEYS} keys, refused", KEYS, stranger, False, False),
            (f"{KEYS} keys, accepted", KEYS, folder, True, False),
            (f"{KEYS} keys that change, refused", KEYS, stranger, False, True),
        )
        seen = []
        for name, keys, client, granted, changing in parts[:2] if quick else parts:
            _write_keys(folder, keys)
            one = await _part(reactor, folder, client, pid, port, seconds, granted=granted, changing=changing)
            print(f"{name}: {one.per_second:.0f} logins a second")
            print(f"{name}: {one.cpu_ms:.2f} ms of the server's processor time for each")
            print(f"{name}: worst ping {one.ping_ms:.0f} ms, promised at most {MOST_PING_MS:.0f}")
            seen.append(one)
    more = seen[1].cpu_ms - seen[0].cpu_ms
    print(f"a refused login with {KEYS} keys: {more:.2f} ms more than with 1, promised at most {MOST_MORE_MS:.0f}")
    return more <= MOST_MORE_MS and all(one.ping_ms <= MOST_PING_MS for one in seen)


def main(arguments: Sequence[str] | None = None) -> None:
    """Attack, and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: always: with status 1 when a promise was broken.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.attacks.many_keys", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="for a few seconds only")
    parser.add_argument("--log-in", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    clean_up_when_ended()

    async def log_in(reactor: Any) -> None:
        folder, port, fingerprint, seconds, answer = options.log_in
        print("ready", flush=True)
        print(
            await _log_in(reactor, folder, int(port), fingerprint, float(seconds), granted=answer == "granted"),
            flush=True,
        )

    async def attack(reactor: Any) -> None:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rshbench-"))
            prepare(folder)
            shell = "/bin/sh"
            pid, port = stack.enter_context(running(OURS, Site(folder=folder, shell=shell, server_options=OPTIONS)))
            if not await _attack(reactor, folder, pid, port, quick=options.quick):
                raise SystemExit(1)

    react(lambda reactor: Deferred.fromCoroutine(log_in(reactor) if options.log_in else attack(reactor)))


if __name__ == "__main__":
    main(sys.argv[1:])
