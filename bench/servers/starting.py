"""Starts a server of any kind in a process of its own, on a free port of 127.0.0.1, and ends it."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.surroundings import ROOT, authorized_keys_path, environment, host_key_path

__all__ = ["CONCH", "CROWDED", "OPENSSH", "OURS", "PEER", "QUIET_SECONDS", "Site", "crowd_size", "find_sshd", "running"]

OURS = "ours"
"""A server of this package."""

CROWDED = "crowded"
"""One that many other clients are connected to."""

OPENSSH = "openssh"
PEER = "asyncssh"
CONCH = "conch"
"""The servers of others."""

START_SECONDS = 30.0
"""Seconds that a server may take to start."""

CROWD_SECONDS = 300.0
"""Seconds that the crowd may take to log in: 5,000 connections at 10 to 20 ms for both ends together, three times."""

END_SECONDS = 20.0
"""Seconds that a process has to end after SIGTERM, before SIGKILL."""

POLL_SECONDS = 0.05
"""Seconds between two looks at whether a server is there."""

QUIET_SECONDS = 3600.0
"""Seconds of silence on a connection of the crowd before it is asked for a sign of life: longer than any run, so that
what is measured beside it is the connections and not their keep-alives."""

SPARE_DESCRIPTORS = 500
"""Descriptors that a server or a crowd has beside its connections."""

PRIVILEGE_SEPARATION = "/run/sshd"
"""The empty folder that Debian's ``sshd`` wants when root runs it; the system's own service makes it at boot."""

SSHD_ATTEMPTS = 3
"""Free ports to try: somebody else may take one between finding it and listening on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What servers of one run have in common.

    :ivar folder: the folder of keys, and of the servers' logs.
    :ivar shell: the shell that runs commands, where the server can be told.
    :ivar crowd: connections of a crowd.
    :ivar python_options: options of the interpreter that runs a server of ours.
    :ivar server_options: options of a server of ours.
    :ivar server_module: the module that runs as a server of ours, and arguments before the server's own.
    :ivar environment: variables that every server has beside those of :func:`bench.surroundings.environment`.
    """

    folder: str
    shell: str
    crowd: int = 0
    python_options: Sequence[str] = ()
    server_options: Sequence[str] = ()
    server_module: Sequence[str] = ("twisted_rsh.server",)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Running:
    pid: int
    port: int


def crowd_size(wanted: int) -> int:
    """Let this process, and those that it starts, have as many descriptors as the system allows; say what that is for.

    :param wanted: connections that a crowd should have.
    :returns: how many it can have: at most `wanted`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted + SPARE_DESCRIPTORS
    if hard == resource.RLIM_INFINITY or hard >= enough:
        hard = enough
    if soft != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return max(1, min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS))


def find_sshd() -> str | None:
    """Find OpenSSH's server, which is seldom on a user's ``PATH``; ``None`` when it is not installed."""
    return shutil.which("sshd", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


@contextlib.contextmanager
def running(kind: str, site: Site) -> Iterator[tuple[int, int]]:
    """Run a server while a block lasts.

    :param kind: one of the constants of this module.
    :param site: what it has in common with the others.
    :returns: its process id and its TCP port.
    :raises RuntimeError: it did not start, with what it said last.
    """
    with contextlib.ExitStack() as stack:
        server = _START[kind](stack, site)
        yield server.pid, server.port


def _start_ours(stack: contextlib.ExitStack, site: Site, *options: str) -> _Running:
    run = os.path.join(site.folder, "run")
    before = set(_records(run))
    command = [sys.executable, *site.python_options, "-m", *site.server_module, "--config-dir", site.folder]
    # What it takes is measured, as its own user.
    command += ["--debuggable", "--port", "0", "--interface", "127.0.0.1", "--shell", site.shell]
    command += [*site.server_options, *options]
    log = os.path.join(site.folder, f"server-{len(before)}.log")
    server = _spawn(stack, command, site, log)
    deadline = time.monotonic() + START_SECONDS
    while not set(_records(run)) - before:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"it did not start: {_last_line(log)}")
        time.sleep(POLL_SECONDS)
    record = (set(_records(run)) - before).pop()
    return _Running(server.pid, int(record.removesuffix(".json")))


def _start_crowded(stack: contextlib.ExitStack, site: Site) -> _Running:
    many = str(site.crowd + SPARE_DESCRIPTORS)
    server = _start_ours(
        stack,
        site,
        "--max-sessions",
        many,
        "--max-sessions-per-key",
        many,
        "--max-unauthenticated",
        many,
        "--keepalive",
        str(QUIET_SECONDS),
    )
    command = [sys.executable, "-m", "bench.crowd", site.folder, str(server.port), str(site.crowd)]
    log = os.path.join(site.folder, "crowd.log")
    crowd = _spawn(stack, command, site, log, talks=True)
    _first_line(crowd, CROWD_SECONDS, log)
    return server


def _start_library(stack: contextlib.ExitStack, site: Site, module: str) -> _Running:
    log = os.path.join(site.folder, f"{module}.log")
    command = [sys.executable, "-m", f"bench.servers.{module}", site.folder, site.shell]
    server = _spawn(stack, command, site, log, talks=True)
    return _Running(server.pid, int(_first_line(server, START_SECONDS, log)))


def _start_openssh(stack: contextlib.ExitStack, site: Site) -> _Running:
    program = find_sshd()
    if program is None:
        raise RuntimeError("sshd is not installed")
    if os.geteuid() == 0 and not os.path.isdir(PRIVILEGE_SEPARATION):
        os.mkdir(PRIVILEGE_SEPARATION, 0o755)
        stack.callback(os.rmdir, PRIVILEGE_SEPARATION)
    log = os.path.join(site.folder, "sshd.log")
    for _ in range(SSHD_ATTEMPTS):
        port = _free_port()
        config = os.path.join(site.folder, f"sshd_config-{port}")
        with open(config, "w", encoding="utf-8") as file:
            file.write(_sshd_config(site.folder, port))
        server = _spawn(stack, [program, "-D", "-e", "-f", config], site, log)
        deadline = time.monotonic() + START_SECONDS
        while server.poll() is None and time.monotonic() < deadline:
            if _greets(port):
                return _Running(server.pid, port)
            time.sleep(POLL_SECONDS)
    raise RuntimeError(f"it did not start: {_last_line(log)}")


def _sshd_config(folder: str, port: int) -> str:
    # SHLVL keeps a bash that sshd starts from reading ~/.bashrc, which no other server's shell does.
    return f"""\
Port {port}
ListenAddress 127.0.0.1
HostKey {host_key_path(folder)}
AuthorizedKeysFile {authorized_keys_path(folder)}
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
PrintMotd no
PrintLastLog no
MaxSessions 100
MaxStartups 1000
LogLevel ERROR
SetEnv SHLVL=2
"""


_START: dict[str, Callable[[contextlib.ExitStack, Site], _Running]] = {
    OURS: _start_ours,
    CROWDED: _start_crowded,
    OPENSSH: _start_openssh,
    PEER: lambda stack, site: _start_library(stack, site, "asyncssh_server"),
    CONCH: lambda stack, site: _start_library(stack, site, "conch_server"),
}


def _spawn(
    stack: contextlib.ExitStack, command: Sequence[str], site: Site, log: str, talks: bool = False
) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE if talks else subprocess.DEVNULL
    with open(log, "ab") as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment(site.folder), **site.environment},
            stdin=pipe,
            stdout=pipe,
            stderr=errors,
        )
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _first_line(process: subprocess.Popen[bytes], seconds: float, log: str) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(seconds) else b""
    if not line:
        raise RuntimeError(f"it did not start: {_last_line(log)}")
    return line.decode().strip()


def _records(folder: str) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".json")] if os.path.isdir(folder) else []


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), START_SECONDS) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _last_line(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = file.read().strip().splitlines()
    return lines[-1] if lines else "it said nothing"
