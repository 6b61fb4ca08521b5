"""The programs in ``examples/``, run as their readers would."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.system.running import SCRIPTS, START_SECONDS, STOP_SECONDS, own_environment, running_server, wait_until

EXAMPLES = Path(__file__).parent.parent / "examples"


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def web_application(home: Path, web: int) -> Iterator[int]:
    """Run the web application; give the port of its shells."""
    command = [
        sys.executable,
        str(EXAMPLES / "web_and_shell.py"),
        "--web",
        str(web),
        "--shell",
        "0",
        "--config-dir",
        str(home),
    ]
    environment = own_environment(home.parent)
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, cwd=home.parent) as application:
        try:
            run = home / "run"
            wait_until(lambda: run.is_dir() and list(run.glob("*.json")), START_SECONDS, "the record")
            yield int(next(run.glob("*.json")).stem)
        finally:
            application.send_signal(signal.SIGTERM)
            _, errors = application.communicate(timeout=STOP_SECONDS)
            assert b"Traceback" not in errors, errors.decode()


def page(port: int) -> bytes:
    """Get the application's page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=START_SECONDS) as answer:
        data: bytes = answer.read()
        return data


def test_web_and_shell(tmp_path: Path) -> None:
    """The page and the shells run on one reactor, and the application's own portal says what may be run."""
    home, web = tmp_path / "home", free_port()
    with web_application(home, web) as port:
        client = [str(SCRIPTS / "trsh"), "--config-dir", str(home), "-p", str(port), "--argv", "127.0.0.1"]
        environment = own_environment(tmp_path)
        assert page(web) == b"0 jobs so far\n"
        allowed = subprocess.run([*client, "df", "/"], env=environment, capture_output=True, timeout=60)
        assert allowed.returncode == 0, allowed.stderr
        assert b"Filesystem" in allowed.stdout
        refused = subprocess.run([*client, "id"], env=environment, capture_output=True, timeout=60)
        assert refused.returncode == 255
        assert refused.stderr == b"trsh: operators may run df, uptime, who, with --argv\n"
        assert page(web) == b"1 jobs so far\n"


def test_run_commands(tmp_path: Path) -> None:
    """The client runs commands at once, streams both ways, and tells a time-out from a failure."""
    with running_server(tmp_path) as server:
        done = subprocess.run(
            [
                sys.executable,
                str(EXAMPLES / "run_commands.py"),
                "--port",
                str(server.port),
                "--config-dir",
                str(server.config),
            ],
            env=server.environment,
            cwd=tmp_path,
            capture_output=True,
            timeout=60,
        )
    assert done.stderr == b""
    assert done.stdout.decode().splitlines() == [
        "slow",
        "quick   as  is  ",
        "two",
        "three",
        "one",
        "Exited(code=0)",
        "TimedOut(seconds=0.5) b'partial\\n'",
        "'exit 3': exited with status 3",
    ]


def test_examples_are_all_run() -> None:
    """No example is without a test here."""
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"run_commands.py", "web_and_shell.py"}
