"""A server in operation: its second signal, its files, its sockets from systemd, and where it must not look."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from tests.server_process import wait_until_gone
from tests.serving import asynchronous, reactor
from tests.system.running import (
    DAEMON,
    SCRIPTS,
    START_SECONDS,
    STOP_SECONDS,
    TWISTD,
    WAYS,
    StartWay,
    assert_one_line,
    own_environment,
    require,
    running_server,
    unmeasured,
    wait_until,
)
from tests.system.test_starting import free_port
from twisted_rsh import Terminal, connect, connect_to_endpoint
from twisted_rsh.core.endings import Exited
from twisted_rsh.execution.account import Account
from twisted_rsh.server.listening import default_interfaces
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import load_or_create_server_key

pytestmark = pytest.mark.real

AT_ONCE_SECONDS = 3.0
"""Seconds that a server and its jobs have to end at the second signal, on a busy machine: the kill ladder takes ten."""

STUBBORN = "trap '' HUP INT TERM; echo $$; while :; do sleep 600; done"
"""A job that no polite signal ends."""


@contextmanager
def running_daemon(folder: Path, *options: str, umask: int = -1) -> Iterator[tuple[int, str]]:
    """Run ``twistd`` in the background while a block lasts; give its process and what it said on the terminal."""
    started = subprocess.run(
        [*DAEMON.command, "--config-dir", str(folder / "rsh"), "--port", "0", *options],
        env=own_environment(folder),
        cwd=folder,
        umask=umask,
        capture_output=True,  # it ends when the daemon has let the terminal go
        timeout=START_SECONDS,
    )
    assert started.returncode == 0, started.stderr.decode()
    wait_until(lambda: list((folder / "rsh" / "run").glob("*.json")), START_SECONDS, "the record of the server")
    pid = int((folder / "twistd.pid").read_text())
    try:
        yield pid, started.stderr.decode()
    finally:
        if (folder / "twistd.pid").exists():
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not (folder / "twistd.pid").exists(), STOP_SECONDS, "the end of the daemon")


# The second signal


@pytest.mark.uncut("the last word of a server that ends the session can be lost with its link")
@pytest.mark.parametrize(
    ("way", "signals"),
    [
        (WAYS["twistd"], (signal.SIGTERM, signal.SIGTERM)),
        (WAYS["twist"], (signal.SIGINT, signal.SIGINT)),
        (WAYS["module"], (signal.SIGINT, signal.SIGTERM)),
    ],
    ids=["twistd", "twist", "module"],
)
def test_second_signal(way: StartWay, signals: tuple[signal.Signals, ...], tmp_path: Path) -> None:
    """O-09: the first signal is heeded politely, the second ends the server and kills its jobs, wherever they are."""
    first, second = signals
    with running_server(tmp_path, "--shell", "/bin/sh", way=way) as server:
        script = tmp_path / "job"
        script.write_text(STUBBORN)
        with server.running_client(f"setsid sh {script} & exec sh {script}") as client:
            assert client.stdout is not None
            pids = [int(client.stdout.readline()) for _ in range(2)]
            server.process.send_signal(first)
            assert client.stderr is not None
            assert_one_line(client.stderr.read(), "the server is stopping")
            assert client.wait() == 255
            assert server.process.poll() is None
            server.process.send_signal(second)
            status = server.process.wait(AT_ONCE_SECONDS)
        wait_until_gone(*pids)
        assert status == -second
        assert "Traceback" not in server.log_text(), server.log_text()
        assert "a second signal: the server ends at once" in server.log_text()
        assert list(server.records.iterdir()) == []
        if server.proxy is not None:
            server.proxy.stop()


def test_second_signal_to_a_daemon(tmp_path: Path) -> None:
    """O-09: a daemon ends as quickly, and its files of the process and the record go."""
    with running_daemon(tmp_path) as (pid, _):
        (record,) = (tmp_path / "rsh" / "run").glob("*.json")
        client = subprocess.Popen(
            [SCRIPTS / "trsh", "--config-dir", tmp_path / "rsh", "-p", record.stem, "127.0.0.1", STUBBORN],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=own_environment(tmp_path),
        )
        with client:
            assert client.stdout is not None
            job = int(client.stdout.readline())
            os.kill(pid, signal.SIGTERM)
            assert client.wait() == 255
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not (tmp_path / "twistd.pid").exists(), AT_ONCE_SECONDS, "the end of the daemon")
        wait_until_gone(job, pid)
    assert list((tmp_path / "rsh" / "run").iterdir()) == []
    assert "Traceback" not in (tmp_path / "twistd.log").read_text()


# The log


def test_log_of_a_daemon(tmp_path: Path) -> None:
    """O-02: no other user can read twistd's log, whatever the umask is, nor after it was rotated."""
    (tmp_path / "twistd.log").write_text("old\n")
    (tmp_path / "twistd.log").chmod(0o644)
    with running_daemon(tmp_path, umask=0) as (pid, _):
        os.kill(pid, signal.SIGUSR1)
        rotated = tmp_path / "twistd.log.1"
        wait_until(lambda: rotated.exists() and (tmp_path / "twistd.log").exists(), START_SECONDS, "the rotation")
        os.kill(pid, signal.SIGUSR1)
        wait_until((tmp_path / "twistd.log.2").exists, START_SECONDS, "the second rotation")
    logs = sorted(tmp_path.glob("twistd.log*"))
    assert [path.name for path in logs] == ["twistd.log", "twistd.log.1", "twistd.log.2"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in logs} == {0o600}
    assert logs[2].read_text().startswith("old\n")


def test_log_that_cannot_be_opened(tmp_path: Path) -> None:
    """O-07: a log whose folder is missing is one line and status 2, and not a traceback of twistd's."""
    done = subprocess.run(
        [*TWISTD.command[:-1], "--logfile=no/such.log", "rsh", "--config-dir", str(tmp_path / "rsh"), "--port", "0"],
        env=own_environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        timeout=START_SECONDS,
    )
    assert_one_line(done.stderr, "twisted-rsh: no/such.log: No such file or directory")
    assert (done.returncode, done.stdout) == (2, b"")


# The warnings


def test_warning_on_the_terminal(tmp_path: Path) -> None:
    """O-11: the operator who starts a daemon reads that other machines can reach it, on the terminal and in the log."""
    with running_daemon(tmp_path, "--interface", "0.0.0.0") as (_, shown):  # noqa: S104 - what is warned about
        (record,) = (tmp_path / "rsh" / "run").glob("*.json")
    warning = f"other machines can reach this server at 0.0.0.0:{record.stem}; "
    assert [line.partition(";")[0] + "; " for line in shown.splitlines()] == [f"twisted-rsh: {warning}"]
    assert (tmp_path / "twistd.log").read_text().count(warning) == 1


# Files


WRITING = re.compile(
    r"open(at2?)?\(.*O_(CREAT|WRONLY|RDWR|TMPFILE)|creat\(|mkdir|mknod|rename|(sym|un)?link(at)?\(|rmdir|truncate\(|"
    r"bind\(.*AF_UNIX|(f|l)?ch(mod|own)|utime|l?setxattr"
)
"""The system calls that make, change or remove something that has a name."""


@asynchronous
async def test_files_of_a_session(tmp_path: Path) -> None:
    """O-05: for a session the server makes no file in its working folder or a folder for temporary files."""
    require(shutil.which("strace"), "strace is not installed")
    cwd, temporary, trace = (tmp_path / name for name in ("cwd", "tmp", "trace"))
    cwd.mkdir()
    temporary.mkdir()
    calls = "trace=%file,creat,mknod,mknodat,bind"
    # Without -f, the jobs are not looked at: what a user's command does is its own affair.
    command = ("strace", "-qq", "-y", "-s", "4096", "-e", calls, "-e", "signal=none", "-o", str(trace))
    environment = own_environment(tmp_path, TMPDIR=str(temporary), PYTHONDONTWRITEBYTECODE="1")
    environment = unmeasured(environment)
    log = (tmp_path / "server.log").open("wb")
    with (
        log,
        subprocess.Popen(
            [*command, *TWISTD.command, "--config-dir", str(tmp_path / "rsh"), "--port", "0", "--shell", "/bin/sh"],
            env=environment,
            cwd=cwd,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            records = tmp_path / "rsh" / "run"
            wait_until(lambda: list(records.glob("*.json")), START_SECONDS, "the record of the server")
            (record,) = records.glob("*.json")
            pid = json.loads(record.read_bytes())["pid"]
            config = ConfigFolders.at(str(tmp_path / "rsh"))
            async with await connect(reactor, "127.0.0.1", int(record.stem), config=config) as connection:
                assert (await connection.run("cat", stdin=b"in")).stdout == b"in"
                assert (await connection.run("tty", terminal=Terminal())).ending == Exited(0)
                async with await connection.open_shell() as shell:
                    assert (await shell.run("cd /; cat", stdin=b"in")).stdout == b"in"
            os.kill(pid, signal.SIGTERM)
            process.wait(STOP_SECONDS)
        finally:
            process.kill()
    calls_made = [line for line in trace.read_text().splitlines() if WRITING.match(line)]
    own = str(tmp_path / "rsh")
    assert any("mknod" in line and own in line for line in calls_made), "the shell's input is a FIFO"
    # Twisted itself may renew the list of its plugins, which is beside them.
    # A folder is removed by calls that name its files in a descriptor's folder, which strace -y shows as <PATH>.
    allowed = (
        f'"{own}',
        f"<{own}/",
        '"/sys/fs/cgroup/',
        '"/dev/null"',
        '"/dev/tty"',
        '"/dev/ptmx"',
        '"/dev/pts/',
        "dropin.cache",
    )
    assert [line for line in calls_made if not any(place in line for place in allowed)] == []
    assert list(cwd.iterdir()) == []
    assert list(temporary.iterdir()) == []


# Where Python looks


HOSTILE = ("ssl.py", "sitecustomize.py", "twisted_rsh.py", "twisted_rsh/__init__.py", "twisted/plugins/hostile.py")
"""Files that another user could have left in a folder: those that our programs would import."""

PROGRAMS = {
    "trsh": (str(SCRIPTS / "trsh"), "--version"),
    "twisted-rsh": (str(SCRIPTS / "twisted-rsh"), "sessions"),
    "twistd": (*TWISTD.command, "--help"),
    "twist": (*WAYS["twist"].command, "--help"),
    "client": (sys.executable, "-P", "-m", "twisted_rsh.client", "--version"),
    "server": (sys.executable, "-P", "-m", "twisted_rsh.server", "--help"),
}


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with those files, each of which leaves a trace in the folder above it when it is imported."""
    folder = tmp_path / "hostile"
    for name in HOSTILE:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r})\n")
    return folder


def run_in(folder: Path, command: tuple[str, ...], **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a program in a folder."""
    return subprocess.run(
        command,
        env=own_environment(folder.parent, **environment),
        cwd=folder,
        capture_output=True,
        timeout=START_SECONDS,
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_hostile_working_folder(program: str, hostile: Path, tmp_path: Path) -> None:
    """C-11: no program imports anything from the folder in which it is started."""
    command = PROGRAMS[program]
    if "-P" in command and sys.version_info < (3, 11):
        command = tuple("-I" if word == "-P" else word for word in command)
    done = run_in(hostile, command)
    assert done.returncode == 0, done.stderr.decode()
    assert not (tmp_path / "imported").exists()
    assert not list(hostile.rglob("dropin.cache"))


def test_server_in_a_hostile_folder(hostile: Path, tmp_path: Path) -> None:
    """C-11: a server that runs in such a folder serves, and has imported nothing from it."""
    with running_server(tmp_path, cwd=hostile) as server:
        assert server.run("echo out").stdout == b"out\n"
    assert not (tmp_path / "imported").exists()


def test_python_m_in_a_hostile_folder(hostile: Path, tmp_path: Path) -> None:
    """C-11: ``python -m`` looks into the working folder first, as the documents say, unless it is told not to."""
    command = (sys.executable, "-m", "twisted_rsh.client", "--version")
    assert run_in(hostile, command).returncode != 0
    assert (tmp_path / "imported").read_text() == "twisted_rsh/__init__.py"
    (tmp_path / "imported").unlink()
    if sys.version_info >= (3, 11):
        assert run_in(hostile, command, PYTHONSAFEPATH="1").returncode == 0
        assert not (tmp_path / "imported").exists()


# Sockets from systemd


@asynchronous
@pytest.mark.parametrize(
    ("place", "endpoint", "warned"),
    [
        ("127.0.0.1:{port}", "systemd:domain=INET:index=0", False),
        ("127.0.0.1:{port}", "systemd:domain=INET:name=remote-shell", False),
        ("[::1]:{port}", "systemd:domain=INET6:index=0", False),
        ("0.0.0.0:{port}", "systemd:domain=INET:index=0", True),
        ("{folder}/socket", "systemd:domain=UNIX:index=0", False),
    ],
)
async def test_socket_activation(place: str, endpoint: str, warned: bool, tmp_path: Path) -> None:
    """O-11: a server takes its sockets from systemd, and neither its jobs nor its helpers see systemd's variables."""
    activate = shutil.which("systemd-socket-activate")
    require(activate, "systemd-socket-activate is not installed")
    assert activate is not None
    if "::1" in place and "::1" not in default_interfaces():
        pytest.skip("this machine has no IPv6 loopback address")
    port = free_port()
    place = place.format(port=port, folder=tmp_path)
    config = ConfigFolders.at(str(tmp_path / "rsh"))
    pin = load_or_create_server_key(config).spki_sha256
    key = load_or_create_client_key(config)
    environment = own_environment(tmp_path, NOTIFY_SOCKET="/no/such/socket")
    passed = [word for name in environment for word in ("-E", name)]
    command = [activate, "-l", place, "--fdname=remote-shell", *passed, *TWISTD.command, "--listen", endpoint]
    log = (tmp_path / "server.log").open("wb")
    with (
        log,
        subprocess.Popen(
            [*command, "--config-dir", config.config, "--shell", "/bin/sh"],
            env=environment,
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            wait_until(lambda: b"Listening on" in (tmp_path / "server.log").read_bytes(), START_SECONDS, "systemd")
            client: IStreamClientEndpoint
            if place.startswith("/"):
                client = UNIXClientEndpoint(reactor, place)
            elif place.startswith("["):
                client = TCP6ClientEndpoint(reactor, "::1", port)
            else:
                client = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
            name = Account.current(os.environ).name
            connection = await connect_to_endpoint(reactor, client, pin, key, name)
            shown = [(await connection.run("env")).stdout, (await connection.run("env", terminal=Terminal())).stdout]
            shell = await connection.open_shell()
            shown.append((await shell.run("env")).stdout)
            helpers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            shown += [Path(f"/proc/{pid}/environ").read_bytes() for pid in helpers]
            assert len(shown) == 5, "two commands, the shell twice, and the guardian"
            for environ in shown:
                assert b"PATH=" in environ
                assert b"LISTEN_" not in environ
                assert b"NOTIFY_SOCKET" not in environ
            await connection.close()
            process.terminate()
            assert process.wait(STOP_SECONDS) == TWISTD.status
        finally:
            process.kill()
    text = (tmp_path / "server.log").read_text()
    assert "Traceback" not in text, text
    # Once on the terminal, and once in the log, which is the same file here.
    assert text.count("can reach this server at") == (2 if warned else 0), text


def test_sockets_that_systemd_did_not_give(tmp_path: Path) -> None:
    """O-11: a server that is not started by systemd says so in one line."""
    for endpoint in ("systemd:domain=INET:index=0", "systemd:domain=INET:name=remote-shell"):
        done = run_in(tmp_path, (*TWISTD.command, "--config-dir", str(tmp_path / "rsh"), "--listen", endpoint))
        assert_one_line(done.stderr, "twisted-rsh: ", endpoint)
        assert done.returncode == 2
