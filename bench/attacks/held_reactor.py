"""``python -m bench.attacks.held_reactor``: a logged-in client tries to hold the server with a single input.

A second client, a process of its own, pings all the time.  Promised is that no input holds the server for more than
20 ms of its processor time: from one moment at which it looks at its sockets to the next, which the server itself
measures (:mod:`bench.servers.measured`).  The pings are printed, too; they are longer by what other programs take.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence

from bench.attacks.pinging import pinging
from bench.attacks.raw_client import RawClient, Refused, frame, memory, reset_peak
from bench.servers.measured import SIZE, LongestTurn
from bench.servers.starting import OURS, Site, running
from bench.surroundings import clean_up_when_ended, prepare
from twisted_rsh.core.codec import encode, encode_control
from twisted_rsh.core.limits import (
    MAX_JSON_BYTES,
    MAX_JSON_COMMAS,
    MAX_JSON_ESCAPES,
    MAX_PART_BYTES,
    MAX_SCRIPT_BYTES,
)
from twisted_rsh.core.messages import Close, Exit, Inspect, Inspected, Open, Opened, Ping, Resize, Signal
from twisted_rsh.core.requests import JobRequest, Terminal

__all__ = ["main"]

PROMISED_MS = 20.0
"""Milliseconds for which one input may hold the server."""

GROWTH_MIB = 64.0
"""MiB that the server may grow above its usual size while it is attacked."""

ROUNDS, QUICK_ROUNDS = 5, 1
"""Times that each input is sent."""

CONNECTIONS = 6
"""Connections of one client that attack together."""

CHANNELS = 64
"""Jobs that a session may have."""

SLEEP = "exec sleep 60"


class Target:
    """What an attack has at hand.

    :ivar connect: makes another connection.
    :ivar rounds: times that it sends its input.
    """

    def __init__(self, folder: str, port: int, rounds: int) -> None:
        self.folder, self.port, self.rounds = folder, port, rounds

    def connect(self, lost: RawClient | None = None) -> RawClient:
        """Log in, or resume a session."""
        return RawClient(self.folder, self.port, lost)


def _body(target: Target, body: bytes) -> None:
    """Send a body as an OPEN in parts, on a connection of its own each time."""
    for _ in range(target.rounds):
        client = target.connect()
        with contextlib.suppress(Refused):
            pieces = [body[start : start + MAX_PART_BYTES] for start in range(0, len(body), MAX_PART_BYTES)]
            *parts, last = pieces
            for number, part in enumerate(parts):
                client.send([struct.pack("!BQ", 0x20, number) + part])
                client.sequence += 1
                client.wait_acknowledged()
            client.send([struct.pack("!BQ", 0x21, len(parts)) + last])
            client.read_available(0.3)
        client.kill()


def _padded(value: bytes) -> bytes:
    head, tail = b'{"channel":1,"command":"true","later":', b"}"
    return head + value + b" " * (MAX_JSON_BYTES - len(head) - len(value) - len(tail)) + tail


def empty_lists(target: Target) -> None:
    """The longest body, of empty lists."""
    _body(target, _padded(b"[" + b"[]," * ((MAX_JSON_BYTES - 100) // 3) + b"0]"))


def escapes(target: Target) -> None:
    """The longest body, with as many escapes as it may have, each between two letters."""
    _body(target, _padded(b'"' + rb"a\udcff" * MAX_JSON_ESCAPES + b'"'))


def members(target: Target) -> None:
    """The longest body, with as many members as it may have."""
    _body(target, _padded(b"{" + b",".join(b'"%d":1' % number for number in range(MAX_JSON_COMMAS - 1)) + b"}"))


def arguments(target: Target) -> None:
    """Requests of as many arguments as there may be."""
    client = target.connect()
    request = JobRequest(argv=("true", *["x" * 12] * 4000))
    for number in range(1, target.rounds + 1):
        client.say(Open(channel=number, request=request))
        client.wait_for(Exit)
        client.say(Close(number))
    client.kill()


def scripts(target: Target) -> None:
    """Scripts of 1 MiB for a persistent shell: text, empty lines, and bytes that are no text."""
    client = target.connect()
    client.say(Open(channel=1, request=JobRequest(shell="bash")))  # noqa: S604 - a name
    client.wait_for(Opened)
    number = 1
    for _ in range(target.rounds):
        for filling in ("x", "\n", "\udcff"):
            number += 1
            script = ": '" + filling * (MAX_SCRIPT_BYTES - 4) + "'"
            client.say(Open(channel=number, request=JobRequest(command=script, in_shell=1)))
            client.wait_for(Exit)
            client.say(Close(number))
    client.kill()


def small_frames(target: Target) -> None:
    """30,000 pings in one write."""
    client = target.connect()
    data = b"".join(frame(encode(Ping(number))) for number in range(30_000))
    for _ in range(target.rounds):
        client.send_raw(data)
        client.read_available(0.2)
    client.kill()


def opens(target: Target) -> None:
    """64 OPENs in one write."""
    client = target.connect()
    first = 1
    for _ in range(target.rounds):
        numbers = range(first, first + CHANNELS)
        _together(client, [Open(channel=number, request=JobRequest(command="true")) for number in numbers])
        client.wait_for(Exit, CHANNELS)
        client.say(*map(Close, numbers))
        client.wait_acknowledged()
        first += CHANNELS
    client.kill()


def _together(client: RawClient, messages: Sequence[Open | Signal | Close | Resize | Inspect]) -> None:
    """Send control messages in one write."""
    client.wait_acknowledged()
    payloads: list[bytes] = []
    for message in messages:
        payloads += encode_control(message, client.sequence + len(payloads))
    client.send(payloads[:48])
    client.sequence += len(payloads[:48])
    if payloads[48:]:
        client.wait_acknowledged()
        client.send(payloads[48:])
        client.sequence += len(payloads[48:])


def _running(target: Target, terminal: Terminal | None = None) -> RawClient:
    client = target.connect()
    for number in range(1, CHANNELS + 1):
        client.say(Open(channel=number, request=JobRequest(command=SLEEP, terminal=terminal)))
        client.wait_for(Opened)
    return client


def signals(target: Target) -> None:
    """48 SIGNALs in one write, for 64 jobs."""
    client = _running(target)
    for _ in range(target.rounds):
        _together(client, [Signal(channel=number + 1, signal="CONT") for number in range(CHANNELS)])
        client.ping()
    client.kill()


def resizes(target: Target) -> None:
    """48 RESIZEs in one write, for 64 terminals."""
    client = _running(target, Terminal())
    for turn in range(target.rounds):
        _together(client, [Resize(number + 1, 80 + turn, 24) for number in range(CHANNELS)])
        client.ping()
    client.kill()


def questions(target: Target) -> None:
    """INSPECTs in one write of 16 shells, each with 100 processes in its background and a command that runs."""
    client = target.connect()
    shells = range(1, 48, 3)
    for shell in shells:
        background, command = shell + 1, shell + 2
        client.say(Open(channel=shell, request=JobRequest(shell="bash")))  # noqa: S604 - a name
        client.wait_for(Opened)
        text = "for i in {1..100}; do sleep 60 & done"
        client.say(Open(channel=background, request=JobRequest(command=text, in_shell=shell)))
        client.wait_for(Exit)
        client.say(Close(background), Open(channel=command, request=JobRequest(command="sleep 60", in_shell=shell)))
        client.wait_for(Opened)
    for _ in range(target.rounds):
        _together(client, [Inspect(shell) for shell in shells])
        client.wait_for(Inspected, len(shells))
    client.kill()


def closes(target: Target) -> None:
    """48 CLOSEs in one write, of jobs that run."""
    for _ in range(target.rounds):
        client = _running(target)
        _together(client, [Close(number + 1) for number in range(CHANNELS)])
        client.wait_for(Exit, CHANNELS)
        client.kill()


def leaving(target: Target) -> None:
    """A client with 64 jobs breaks the protocol, which ends them all."""
    for _ in range(target.rounds):
        client = _running(target)
        client.send([b"\xff"])
        with contextlib.suppress(Refused):
            client.ping()
        client.kill()
        time.sleep(0.5)


def resumes(target: Target) -> None:
    """Resumes of a session of 64 jobs whose output is unread: 16 MiB are to be repeated each time."""
    client = target.connect()
    for number in range(1, CHANNELS + 1):
        client.say(Open(channel=number, request=JobRequest(command="head -c 1000000 /dev/zero; exec sleep 60")))
    time.sleep(2)
    for _ in range(target.rounds):
        client.read_available(0.05)
        client.kill()
        client = target.connect(client)
        client.read_available(0.3)
    client.kill()


def six_connections(target: Target) -> None:
    """Six connections, each with small frames and the longest bodies."""
    _six_times(target, small_frames, empty_lists, escapes, members)


def six_times_64_jobs(target: Target) -> None:
    """Six connections, each with 64 OPENs in one write: 384 processes end at about the same time."""
    _six_times(target, opens)


def _six_times(target: Target, *acts: Callable[[Target], None]) -> None:
    def attack() -> None:
        with contextlib.suppress(Refused):
            for act in acts:
                act(target)

    threads = [threading.Thread(target=attack) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


ATTACKS: tuple[Callable[[Target], None], ...] = (
    empty_lists,
    escapes,
    members,
    arguments,
    scripts,
    small_frames,
    opens,
    signals,
    resizes,
    questions,
    closes,
    leaving,
    resumes,
    six_connections,
    six_times_64_jobs,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Attack and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: always: with status 1 when a promise is broken.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.attacks.held_reactor", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="each input once")
    parser.add_argument("--only", metavar="NAME,...", help="some of: " + ", ".join(act.__name__ for act in ATTACKS))
    options = parser.parse_args(arguments)
    only = options.only.split(",") if options.only else [act.__name__ for act in ATTACKS]
    clean_up_when_ended()
    broken = False
    with tempfile.TemporaryDirectory(prefix="rshbench-") as folder:
        prepare(folder)
        turns = os.path.join(folder, "turns")
        with open(turns, "wb") as file:
            file.write(bytes(SIZE))
        longest = LongestTurn(turns)
        module = ("bench.servers.measured", turns)
        site = Site(folder=folder, shell="/bin/sh", server_module=module)  # noqa: S604 - a name
        with running(OURS, site) as (pid, port), pinging(folder, port) as pings:
            target = Target(folder, port, QUICK_ROUNDS if options.quick else ROUNDS)
            pings()
            time.sleep(0.5 if options.quick else 2.0)
            idle = pings()
            print(f"no attack: worst ping {idle['worst_ms']:.1f} ms, median {idle['median_ms']:.2f} ms")
            for act in ATTACKS:
                if act.__name__ not in only:
                    continue
                usual = memory(pid, "VmRSS")
                reset_peak(pid)
                pings()
                longest.take()
                act(target)
                held = longest.take() * 1000
                seen = pings()
                grown = memory(pid, "VmHWM") - usual
                kept = held <= PROMISED_MS and grown <= GROWTH_MIB
                broken |= not kept
                print(
                    f"{act.__name__}: held {held:.1f} ms, promised {PROMISED_MS:.0f}; "
                    f"worst ping {seen['worst_ms']:.1f} ms, median {seen['median_ms']:.2f} ms; "
                    f"peak +{grown:.0f} MiB, promised {GROWTH_MIB:.0f}" + ("" if kept else "  BROKEN"),
                    flush=True,
                )
    raise SystemExit(int(broken))


if __name__ == "__main__":
    main(sys.argv[1:])
