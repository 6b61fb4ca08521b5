"""Starting the server: the same in every way there is, and one line, status 2 and no listener when it cannot."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.system.running import (
    DAEMON,
    SCRIPTS,
    START_SECONDS,
    STOP_SECONDS,
    WAYS,
    StartWay,
    assert_one_line,
    own_environment,
    running_server,
    wait_until,
)

pytestmark = pytest.mark.real

USAGE_STATUS = 2
FAILURE_STATUS = 1

FOREGROUND = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
EVERY_WAY = pytest.mark.parametrize("way", [*WAYS.values(), DAEMON], ids=[*WAYS, "daemon"])


def free_port() -> int:
    """Find a TCP port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_listened_on(family: socket.AddressFamily, address: str, port: int) -> bool:
    """Tell whether there is a listener at an address."""
    with socket.socket(family) as probe:
        return probe.connect_ex((address, port)) == 0


def try_to_start(way: StartWay, folder: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    """Start a server that is expected to refuse."""
    return subprocess.run(
        [*way.command, *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=own_environment(folder),
        cwd=folder,
        timeout=START_SECONDS,
    )


def assert_refused(done: subprocess.CompletedProcess[bytes], folder: Path, *parts: str) -> None:
    """Check a refusal to start: one line on stderr that has these parts, status 2, and nothing left running."""
    assert_one_line(done.stderr, "twisted-rsh: ", *parts)
    assert done.stdout == b""
    assert done.returncode == USAGE_STATUS
    assert not list(folder.rglob("*.json"))
    assert not (folder / "twistd.pid").exists()


@FOREGROUND
def test_serves(way: StartWay, tmp_path: Path) -> None:
    """Started in any way, the server does the same: both outputs, the status, and a clean end by SIGTERM."""
    with running_server(tmp_path, way=way) as server:
        done = server.run("echo out; echo err >&2; exit 3")
        assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 3)


def test_daemon_serves(tmp_path: Path) -> None:
    """twistd in the background serves like any other; its umask is not its jobs', and its files go with it."""
    home = tmp_path / "rsh"
    environment = own_environment(tmp_path)
    started = subprocess.run(
        [*DAEMON.command, "--config-dir", str(home), "--port", "0"],
        env=environment,
        cwd=tmp_path,
        umask=0o027,
        timeout=START_SECONDS,
    )
    assert started.returncode == 0
    wait_until(lambda: list((home / "run").glob("*.json")), START_SECONDS, "the record of the server")
    pid = int((tmp_path / "twistd.pid").read_text())
    try:
        (record,) = (home / "run").glob("*.json")
        done = subprocess.run(
            [SCRIPTS / "trsh", "--config-dir", home, "-p", record.stem, "127.0.0.1", "umask"],
            capture_output=True,
            env=environment,
            timeout=START_SECONDS,
        )
        assert (done.stdout, done.stderr, done.returncode) == (b"0027\n", b"", 0)
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not (tmp_path / "twistd.pid").exists(), STOP_SECONDS, "the end of the daemon")
    assert not list((home / "run").glob("*.json"))
    assert "Traceback" not in (tmp_path / "twistd.log").read_text()


def test_twistd_lists_the_service(tmp_path: Path) -> None:
    """``twistd --help`` names the service: the plugin is found from any folder."""
    done = subprocess.run(
        [SCRIPTS / "twistd", "--help"], capture_output=True, text=True, env=own_environment(tmp_path), cwd=tmp_path
    )
    assert "rsh" in [line.split()[0] for line in done.stdout.splitlines() if line.strip()]


@EVERY_WAY
def test_unknown_option(way: StartWay, tmp_path: Path) -> None:
    """O-07: an option that does not exist: one line that names it, status 2, no listener."""
    port = free_port()
    done = try_to_start(way, tmp_path, "--config-dir", str(tmp_path / "rsh"), "--port", str(port), "--bogus")
    assert_refused(done, tmp_path, "--bogus")
    assert not is_listened_on(socket.AF_INET, "127.0.0.1", port)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("word",), "word"),
        (("--port", "65536"), "65535"),
        (("--interface", "localhost"), "localhost"),
        (("--encoding", "klingon"), "klingon"),
        (("--encoding", "utf-16"), "utf-16"),
        (("--shell", "/no/such/shell"), "/no/such/shell"),
        (("--listen", "nonsense:1"), "nonsense"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_bad_options(options: tuple[str, ...], named: str, tmp_path: Path) -> None:
    """O-07: an option with a value that makes no sense, given to a server that would go to the background."""
    port = free_port()
    at_a_port = () if "--port" in options else ("--port", str(port))
    done = try_to_start(DAEMON, tmp_path, "--config-dir", str(tmp_path / "rsh"), *at_a_port, *options)
    assert_refused(done, tmp_path, named)
    assert not is_listened_on(socket.AF_INET, "127.0.0.1", port)


@EVERY_WAY
@pytest.mark.parametrize(
    ("family", "taken", "other_family", "other"),
    [
        (socket.AF_INET, "127.0.0.1", socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::1", socket.AF_INET, "127.0.0.1"),
    ],
    ids=["IPv4", "IPv6"],
)
def test_port_in_use(
    way: StartWay,
    family: socket.AddressFamily,
    taken: str,
    other_family: socket.AddressFamily,
    other: str,
    tmp_path: Path,
) -> None:
    """O-08: a port that is taken on one address family: the server does not start on the other one alone."""
    with socket.socket(family) as listener:
        try:
            listener.bind((taken, 0))
        except OSError:
            pytest.skip(f"this machine has no {taken}")
        listener.listen()
        port = listener.getsockname()[1]
        done = try_to_start(way, tmp_path, "--config-dir", str(tmp_path / "rsh"), "--port", str(port))
        assert_refused(done, tmp_path, taken, str(port), "in use")
        assert not is_listened_on(other_family, other, port)


@pytest.mark.parametrize(
    ("way", "unsafe"),
    [(DAEMON, "rsh"), (DAEMON, "rsh/server"), *((way, "rsh/run") for way in [*WAYS.values(), DAEMON])],
)
def test_folder_that_others_can_write(way: StartWay, unsafe: str, tmp_path: Path) -> None:
    """O-01: the folder of the keys, or of the records, is group-writable: the exact chmod is named."""
    folder = tmp_path / unsafe
    for path in (tmp_path / "rsh", folder):
        path.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o770)
    port = free_port()
    done = try_to_start(way, tmp_path, "--config-dir", str(tmp_path / "rsh"), "--port", str(port))
    assert_refused(done, tmp_path, "run: chmod", str(folder))
    assert not is_listened_on(socket.AF_INET, "127.0.0.1", port)


@EVERY_WAY
def test_folder_that_is_a_file(way: StartWay, tmp_path: Path) -> None:
    """The folder of the keys cannot be one: one line that names it."""
    (tmp_path / "rsh").touch(mode=0o600)
    done = try_to_start(way, tmp_path, "--config-dir", str(tmp_path / "rsh"), "--port", "0")
    assert_refused(done, tmp_path, str(tmp_path / "rsh"))


@EVERY_WAY
def test_record_that_cannot_be_written(way: StartWay, tmp_path: Path) -> None:
    """R-12: a server that listens and then cannot leave its record ends with status 1, and names the file."""
    port = free_port()
    folder = tmp_path / "rsh" / "run"
    folder.mkdir(parents=True)
    for path in (tmp_path / "rsh", folder):
        path.chmod(0o700)
    (folder / f"{port}.json").mkdir()  # no file can take its place
    done = try_to_start(way, tmp_path, "--config-dir", str(tmp_path / "rsh"), "--port", str(port))
    line = f"twisted-rsh: {folder / f'{port}.json'}: Is a directory"
    shown = done.stderr.decode().splitlines()
    assert shown.count(line) == 1
    assert not any("Traceback" in text or f"{port}.json" in text for text in shown if text != line)
    assert done.returncode == FAILURE_STATUS
    assert not is_listened_on(socket.AF_INET, "127.0.0.1", port)
    assert not (tmp_path / "twistd.pid").exists()
    if way is DAEMON:
        assert f"the server ends: {line.removeprefix('twisted-rsh: ')}\n" in (tmp_path / "twistd.log").read_text()


@EVERY_WAY
def test_endpoint_that_is_taken(way: StartWay, tmp_path: Path) -> None:
    """O-08: an endpoint that is taken is found out when the server starts, and it ends with no port left open."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken, port = listener.getsockname()[1], free_port()
        options = ("--port", str(port), "--interface", "127.0.0.1", "--listen", f"tcp:{taken}:interface=127.0.0.1")
        done = try_to_start(way, tmp_path, "--config-dir", str(tmp_path / "rsh"), *options)
    assert f"twisted-rsh: cannot listen on 127.0.0.1, port {taken}: Address already in use; " in done.stderr.decode()
    assert b"Traceback" not in done.stderr + done.stdout
    # The twistd that waits for the one in the background knows no other status.
    assert done.returncode == (FAILURE_STATUS if way is DAEMON else USAGE_STATUS)
    assert not is_listened_on(socket.AF_INET, "127.0.0.1", port)
    assert not list(tmp_path.rglob("*.json"))
    assert not (tmp_path / "twistd.pid").exists()


@pytest.mark.parametrize("way", [WAYS["twistd"], WAYS["module"]], ids=["twistd", "module"])
def test_record_on_a_full_disk(way: StartWay, tmp_path: Path) -> None:
    """R-12: an error of the system that names no file, such as that of a full disk, is said with the file's name."""
    with running_server(tmp_path, way=way) as server:
        assert server.run("true").returncode == 0  # it has made the key, and takes signals
    # Coverage, which may measure the tests, could not write its file either.
    limited = 'unset COVERAGE_PROCESS_START; ulimit -f 0 && exec "$0" "$@"'
    full = StartWay(("/bin/sh", "-c", limited, *way.command), way.status)
    port = free_port()
    done = try_to_start(full, tmp_path, "--config-dir", str(tmp_path / "rsh"), "--port", str(port))
    assert f"twisted-rsh: {tmp_path / 'rsh' / 'run' / f'{port}.json'}: File too large\n" in done.stderr.decode()
    assert b"Traceback" not in done.stderr + done.stdout
    assert done.returncode == FAILURE_STATUS
    assert list((tmp_path / "rsh" / "run").iterdir()) == []


def test_log_on_a_full_disk(tmp_path: Path) -> None:
    """R-12: a server whose log cannot be written any more goes on."""
    command = 'unset COVERAGE_PROCESS_START; ulimit -f 1 && exec "$0" "$@"'
    limited = ("/bin/sh", "-c", command, *WAYS["twistd"].command[:-1], "--logfile=x.log", "rsh")
    with running_server(tmp_path, way=StartWay(limited, WAYS["twistd"].status)) as server:
        assert (tmp_path / "x.log").stat().st_size == 512
        assert server.run("echo out").stdout == b"out\n"
    assert (tmp_path / "x.log").stat().st_size == 512
