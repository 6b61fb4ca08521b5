"""``python -m bench.walks``: count the files and hops that a reader follows from a cause to its effect.

For each of six walks, a real server and a real client run on loopback as processes of their own, both under
``sys.setprofile`` (see ``bench.traced``).  The client is the program, on a terminal in all walks but the first.  A walk
begins with its cause, such as a key.  It ends when its effect is there and neither process has made a call for
:data:`QUIET_SECONDS`.  The first walk is a whole run of the client, from its start to its exit.

A *call*
    is an event ``call`` of ``sys.setprofile`` in the main thread: Python enters a function, method, lambda or
    comprehension, or enters or resumes a generator or coroutine, and a file of the package defines it.  Not counted:
    code outside the package, generated code (the ``__init__`` of a dataclass), the body of a module, and all calls
    while a module is being imported.

A *hop*
    is a call that a file other than that of the call before it defines.  The call before is the last one of the same
    process within the walk.  A return is no hop.

*Files*
    are the files of the package with at least one call, in either process.

The hops of a walk are those of the client plus those of the server, counted separately, so the order in which the two
processes take turns does not matter.  The client's half is the client's process, and the server's half the server's.
The guardian of a job is a third interpreter; it is not traced.

Each walk is done once to warm up and three times to count; the report has the median of each number.  The server looks
at its processes every second.  A look that falls into a walk adds about ten hops and up to five files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pty
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.report import describe_machine, find_versions
from bench.servers.starting import OURS, Site, running
from bench.surroundings import ROOT, clean_up_when_ended, environment

__all__ = ["WALKS", "Call", "count_hops", "list_files", "main"]

CLIENT_MODULE = "twisted_rsh.client"
CLIENT_OPTIONS = ("--config-dir", "{folder}", "-p", "{port}")
PROMPT = b">>:"
"""What this module knows of the package: the command line of its client, and the prompt of its console."""

HOST = "127.0.0.1"

ROUNDS = 3
"""Times that a walk is traced."""

QUIET_SECONDS = 0.15
"""Seconds without a call that end a walk: longer than either side delays a message to send it with the next one, and
shorter than the second between two looks at a job."""

EFFECT_SECONDS = 60.0
"""Seconds that a walk may take."""

POLL_SECONDS = 0.01
"""Seconds between two looks at a file of calls."""

BLOCK_BYTES = 60 * 1024
"""Bytes that a job writes at once: less than the 64 KiB that a pipe of Linux holds (pipe(7)), so one read gets all."""

TERMINAL_BYTES = 64 * 1024
"""Bytes of one read of a terminal."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a function of the package.

    :ivar at: when, in nanoseconds of the monotonic clock.
    :ivar file: the file that defines the function, relative to the package.
    :ivar function: its name.
    """

    at: int
    file: str
    function: str


@dataclass(frozen=True, slots=True)
class Round:
    """The calls of one walk, in their order.

    :ivar client: those of the client; empty when only the server's half counts.
    :ivar server: those of the server; empty when only the client's half counts.
    """

    client: Sequence[Call]
    server: Sequence[Call]

    @property
    def hops(self) -> int:
        """The hops of both processes."""
        return count_hops(self.client) + count_hops(self.server)

    @property
    def files(self) -> list[str]:
        """The files of both processes, in the order of their first call."""
        return list_files(sorted([*self.client, *self.server], key=lambda call: call.at))


def count_hops(calls: Sequence[Call]) -> int:
    """Count the calls whose file is not that of the call before.

    :param calls: the calls of one process, in their order.
    """
    return sum(one.file != other.file for one, other in pairwise(calls))


def list_files(calls: Sequence[Call]) -> list[str]:
    """List the different files, in the order of their first call."""
    return list(dict.fromkeys(call.file for call in calls))


class Trace:
    """The calls that one process records.

    :param path: the file that the process writes.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    @property
    def size(self) -> int:
        """The length of the file in bytes; it grows with every call."""
        return os.path.getsize(self._path) if os.path.exists(self._path) else 0

    def calls(self, start: int, end: int) -> list[Call]:
        """Read the calls of a period.

        :param start: when the period begins, in nanoseconds of the monotonic clock.
        :param end: when it ends.
        """
        lines = (line.split() for line in Path(self._path).read_text(encoding="utf-8").splitlines())
        calls = (Call(int(at), file, function) for at, file, function in lines)
        return [call for call in calls if start <= call.at <= end]


class Client:
    """The client program on a terminal.

    :param stage: gives the program its command line and environment.
    :param words: what follows :data:`CLIENT_OPTIONS` on the command line.
    :param port: the TCP port to connect to; ``None`` for the server's.
    :ivar trace: the calls of the program.
    """

    def __init__(self, stage: Stage, *words: str, port: int | None = None) -> None:
        command, self.trace = stage.client_command(*words, port=port)
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            try:
                os.chdir(ROOT)
                os.execve(command[0], command, stage.environment)  # noqa: S606 - our own words
            finally:
                os._exit(127)
        self._unread = b""

    def type(self, text: bytes) -> None:
        """Press keys."""
        os.write(self._terminal, text)

    def expect(self, text: bytes) -> None:
        """Wait until the program shows a text, after the text of the last :meth:`expect`.

        :param text: the text, as a terminal gets it.
        :raises TimeoutError: it did not come within :data:`EFFECT_SECONDS`.
        :raises EOFError: the program ended.
        """
        deadline = time.monotonic() + EFFECT_SECONDS
        while text not in self._unread:
            if not select.select([self._terminal], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise TimeoutError(f"{text!a} did not come, but {self._unread[-500:]!a}")
            self._unread += self._read()
        self._unread = self._unread.partition(text)[2]

    def send_signal(self, number: signal.Signals) -> None:
        """Send the program a signal."""
        os.kill(self._pid, number)

    def kill(self) -> None:
        """Kill the program and close the terminal."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._terminal)

    def _read(self) -> bytes:
        try:
            data = os.read(self._terminal, TERMINAL_BYTES)
        except OSError:  # Linux's way to say that no process has the terminal any more
            data = b""
        if not data:
            raise EOFError(f"the client ended: {self._unread[-500:].decode(errors='replace').strip()}")
        return data


class Stage:
    """A server, and the clients that a walk runs.

    :param folder: the folder of the keys and of the recorded calls, ``HOME`` of all programs.
    :param port: the server's TCP port.
    :param server: the calls of the server.
    """

    def __init__(self, folder: str, port: int, server: Trace) -> None:
        self.folder = folder
        self.port = port
        self.environment = {**environment(folder), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        self._server = server
        self._clients = 0

    def client_command(self, *words: str, port: int | None = None) -> tuple[list[str], Trace]:
        """Make the command line of a traced client, and the trace of its calls.

        :param words: what follows :data:`CLIENT_OPTIONS`.
        :param port: the TCP port to connect to; ``None`` for the server's.
        """
        self._clients += 1
        path = os.path.join(self.folder, f"client-{self._clients}.calls")
        options = [option.format(folder=self.folder, port=port or self.port) for option in CLIENT_OPTIONS]
        return [sys.executable, "-m", "bench.traced", path, "-m", CLIENT_MODULE, *options, *words], Trace(path)

    @contextlib.contextmanager
    def client(self, *words: str, port: int | None = None) -> Iterator[Client]:
        """Run a client on a terminal while a block lasts.  The parameters are those of :class:`Client`."""
        client = Client(self, *words, port=port)
        try:
            yield client
        finally:
            client.kill()

    def walk(self, client: Trace, cause: Callable[[], object], effect: Callable[[], object]) -> Round:
        """Do a walk once.

        :param client: the trace of the client.
        :param cause: begins the walk.
        :param effect: waits for its effect.
        :raises TimeoutError: the processes do not come to rest within :data:`EFFECT_SECONDS`.
        """
        self._wait_for_quiet(client)
        start = time.monotonic_ns()
        cause()
        effect()
        end = self._wait_for_quiet(client)
        return Round(client.calls(start, end), self._server.calls(start, end))

    def wait_for_server(self, act: Callable[[], object]) -> None:
        """Do something that makes the server work, and wait for its next call.

        :param act: does it.
        :raises TimeoutError: the server made no call within :data:`EFFECT_SECONDS`.
        """
        before, deadline = self._server.size, time.monotonic() + EFFECT_SECONDS
        act()
        while self._server.size == before:
            if time.monotonic() > deadline:
                raise TimeoutError("the server made no call")
            time.sleep(POLL_SECONDS)

    def _wait_for_quiet(self, client: Trace) -> int:
        """Wait until neither process has made a call for :data:`QUIET_SECONDS`; return the time."""
        size, since, deadline = -1, 0, time.monotonic() + EFFECT_SECONDS
        while True:
            now, seen = time.monotonic_ns(), client.size + self._server.size
            if seen != size:
                size, since = seen, now
            elif now - since >= QUIET_SECONDS * 1e9:
                return now
            if time.monotonic() > deadline:
                raise TimeoutError("the client or the server is never at rest")
            time.sleep(POLL_SECONDS)


class Relay:
    """Connects clients to the server through itself, and can cut the connection.

    :param port: the server's TCP port.
    :ivar port: the relay's own TCP port, for clients.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server((HOST, 0))
        self._pair: tuple[socket.socket, ...] = ()
        self._connected = threading.Semaphore(0)
        self.port: int = self._listener.getsockname()[1]

    def start(self) -> None:
        """Accept connections, in a thread."""
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_for_connection(self) -> None:
        """Wait for the next connection of a client.

        :raises TimeoutError: there was none within :data:`EFFECT_SECONDS`.
        """
        if not self._connected.acquire(timeout=EFFECT_SECONDS):
            raise TimeoutError("the client did not connect")

    def cut(self) -> None:
        """End the last connection, at both ends."""
        for end in self._pair:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut the connection, and accept no more."""
        self.cut()
        with contextlib.suppress(OSError):  # not every system shuts a listener down
            self._listener.shutdown(socket.SHUT_RDWR)  # on Linux, close() alone leaves accept() waiting
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection((HOST, self._server_port))
            self._pair = near, far
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()
            self._connected.release()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(BLOCK_BYTES):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _command(stage: Stage, rounds: int) -> Iterator[Round]:
    """Run the client from its start to its exit, in a new process each time."""
    for _ in range(rounds):
        start = time.monotonic_ns()
        command, trace = stage.client_command(HOST, "ls")
        subprocess.run(
            command,
            cwd=ROOT,
            env=stage.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=EFFECT_SECONDS,
            check=True,
        )
        yield Round(trace.calls(start, time.monotonic_ns()), ())


def _read(stage: Stage, rounds: int) -> Iterator[Round]:
    """Let a job write a block while the client is stopped, so that the server hears nothing from it meanwhile."""
    fifo = os.path.join(stage.folder, "fifo")
    os.mkfifo(fifo)
    with stage.client(HOST, f"echo ready; exec cat {fifo}") as client:
        client.expect(b"ready\r\n")
        with open(fifo, "wb", buffering=0) as source:
            for _ in range(rounds):
                done = stage.walk(
                    client.trace,
                    lambda: client.send_signal(signal.SIGSTOP),
                    lambda: stage.wait_for_server(lambda: source.write(b"x" * (BLOCK_BYTES - 1) + b"\n")),
                )
                client.send_signal(signal.SIGCONT)
                client.expect(b"\r\n")
                yield Round((), done.server)
    os.remove(fifo)


def _interrupt(stage: Stage, rounds: int, line: bytes, *options: str) -> Iterator[Round]:
    with stage.client(*options, HOST) as client:
        client.expect(PROMPT)
        for _ in range(rounds):
            client.type(line)
            client.expect(b"ready\r\n")
            yield stage.walk(client.trace, lambda: client.type(b"\x03"), lambda: client.expect(PROMPT))


def _key(stage: Stage, rounds: int) -> Iterator[Round]:
    """Interrupt a command on a terminal: the client sends the key, and the terminal at the server makes the signal."""
    # Without the echo of the key, which the server reads sometimes alone and sometimes with the shell's next output.
    return _interrupt(stage, rounds, b"stty -echo; echo rea''dy; sleep 1000\r")


def _signal(stage: Stage, rounds: int) -> Iterator[Round]:
    """Interrupt a command on pipes: the client's terminal makes the signal, and the client sends it."""
    return _interrupt(stage, rounds, b"echo rea''dy; sleep 1000\r", "-T")


def _resume(stage: Stage, rounds: int) -> Iterator[Round]:
    """Cut the connection of a job that waits for input; afterwards check that its input still arrives."""
    relay = Relay(stage.port)
    # The client knows the server's key by the record of its port; the relay's port needs the same record.
    (record,) = Path(stage.folder).glob(f"**/{stage.port}.json")
    shutil.copy(record, record.with_name(f"{relay.port}.json"))
    with contextlib.closing(relay), stage.client(HOST, "cat", port=relay.port) as client:
        relay.start()
        relay.wait_for_connection()
        client.type(b"first\r")
        client.expect(b"first\r\nfirst\r\n")
        for _ in range(rounds):
            yield stage.walk(client.trace, relay.cut, relay.wait_for_connection)
            client.type(b"again\r")
            client.expect(b"again\r\nagain\r\n")


def _cd(stage: Stage, rounds: int) -> Iterator[Round]:
    """Type a line that the shell runs without a process of its own."""
    with stage.client(HOST) as client:
        client.expect(PROMPT)
        for _ in range(rounds):
            yield stage.walk(client.trace, lambda: client.type(b"cd /\r"), lambda: client.expect(PROMPT))


@dataclass(frozen=True, slots=True)
class Walk:
    """One row of the report.

    :ivar title: the row's first column.
    :ivar do: does the walk on a stage, as many times as its second argument says.
    """

    title: str
    do: Callable[[Stage, int], Iterator[Round]]


WALKS = {
    "command": Walk("`trsh host ls`, the client's half", _command),
    "read": Walk("one read of stdout, the server's half", _read),
    "key": Walk("Ctrl-C as a key in the console", _key),
    "signal": Walk("Ctrl-C as a signal, persistent shell", _signal),
    "resume": Walk("resume after a cut", _resume),
    "cd": Walk("`cd` in the console", _cd),
}
"""All walks, by their names on the command line."""


def _trace(name: str) -> list[Round]:
    """Do a walk on a new stage; return the rounds after the one that warms up."""
    with tempfile.TemporaryDirectory(prefix="rshbench-") as folder:
        path = os.path.join(folder, "server.calls")
        site = Site(folder=folder, shell="/bin/sh", python_options=["-m", "bench.traced", path])  # noqa: S604 - a name
        with running(OURS, site) as (_, port):
            return list(WALKS[name].do(Stage(folder, port, Trace(path)), 1 + ROUNDS))[1:]


def _figures(rounds: Sequence[Round]) -> dict[str, Any]:
    return {
        "files": round(statistics.median(len(one.files) for one in rounds)),
        "hops": round(statistics.median(one.hops for one in rounds)),
        "client_hops": round(statistics.median(count_hops(one.client) for one in rounds)),
        "server_hops": round(statistics.median(count_hops(one.server) for one in rounds)),
        "rounds": [{"files": len(one.files), "hops": one.hops} for one in rounds],
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.walks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--walks", metavar="NAMES", help=f"which, with commas between [{','.join(WALKS)}]")
    parser.add_argument("--files", metavar="WALK", choices=list(WALKS), help="list the files of one walk instead")
    parser.add_argument("--json", metavar="FILE", help="write all figures to a file")
    options = parser.parse_args(arguments)
    options.walks = list(WALKS) if options.walks is None else options.walks.split(",")
    unknown = [name for name in options.walks if name not in WALKS]
    if unknown:
        parser.error(f"no such walk: {', '.join(unknown)}")
    return options


def _list(name: str) -> None:
    """Print the files of a walk in the order of their first call, each with its number of calls."""
    done = sorted(_trace(name), key=lambda one: one.hops)[ROUNDS // 2]
    calls = [*done.client, *done.server]
    print("calls  file")
    for file in done.files:
        print(f"{sum(call.file == file for call in calls):5}  {file}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trace and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises TimeoutError: a walk did not come to its end.
    :raises EOFError: a client ended within it.
    :raises RuntimeError: the server did not start.
    """
    options = _options(arguments)
    clean_up_when_ended()
    if options.files:
        _list(options.files)
        return
    figures: dict[str, dict[str, Any]] = {}
    width = max(len(WALKS[name].title) for name in options.walks)
    print(f"{'walk':{width}}  files  hops")
    for name in options.walks:
        figures[name] = found = _figures(_trace(name))
        print(f"{WALKS[name].title:{width}}  {found['files']:5}  {found['hops']:4}", flush=True)
    if options.json:
        results = {"format": 1, "machine": describe_machine(), "versions": find_versions(), "figures": figures}
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
