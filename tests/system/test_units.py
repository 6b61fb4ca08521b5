"""The units for systemd, and a running server that reads its options again."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.system.running import (
    START_SECONDS,
    RunningServer,
    assert_one_line,
    require,
    running_server,
    wait_until,
)

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"

EXPOSURE = {False: 9.6, True: 5.8}
"""What ``systemd-analyze security`` of systemd 252 says of the unit, without hardening.conf and with it: from 0 to 10,
where less is safer.  Most of what it asks for would bind jobs."""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units for an account, with the program of this environment."""
    require(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    for kind in ("service", "socket"):
        text = (UNITS / f"twisted-rsh@.{kind}").read_text("utf-8")
        text = text.replace("/opt/twisted-rsh/bin", str(Path(sys.executable).parent))
        (tmp_path / f"twisted-rsh@root.{kind}").write_text(text)
    return tmp_path


def test_systemd_understands_them(units: Path) -> None:
    """``systemd-analyze verify`` has nothing to say about the units."""
    done = subprocess.run(
        [
            "systemd-analyze",
            "verify",
            "--man=no",
            "--recursive-errors=no",
            "./twisted-rsh@root.service",
            "./twisted-rsh@root.socket",
        ],
        cwd=units,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("hardened", [False, True])
def test_what_they_expose(hardened: bool, units: Path) -> None:
    """``systemd-analyze security`` rates the unit as its page says, and hardening.conf makes it safer."""
    service = units / "twisted-rsh@root.service"
    if hardened:
        with service.open("a") as file:
            file.write((UNITS / "hardening.conf").read_text("utf-8"))
    done = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", "./twisted-rsh@root.service"],
        cwd=units,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None, (done.stdout, done.stderr)
    assert float(found[1]) <= EXPOSURE[hardened]


def has_logged(server: RunningServer, line: str) -> bool:
    """Tell whether a line is in the log."""
    return line in server.log_text()


def test_options_that_change_while_it_runs(tmp_path: Path) -> None:
    """At SIGHUP limits and the log level change, and a session and its job go on; a broken file changes nothing."""
    config = tmp_path / "rsh"
    config.mkdir(mode=0o700)
    conf = config / "server.conf"
    conf.write_text("max-sessions 9\n")
    with (
        running_server(tmp_path, config=config) as server,
        server.running_client("cat") as client,
    ):
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"before\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"before\n"
        for text, line in (
            ("max-sessions 1x\n", f"the configuration stays as it was: {conf}:1:14: max-sessions takes a whole number"),
            (
                "max-sessions 1\nwindow 4096\n",
                f"{conf} was read again: max-sessions changed; window changed too",
            ),
        ):
            conf.write_text(text)
            server.process.send_signal(signal.SIGHUP)
            wait_until(partial(has_logged, server, line), START_SECONDS, line)
        refused = server.run("true")
        assert refused.returncode == 255
        assert_one_line(refused.stderr, "the server has 1 sessions, as many as its --max-sessions allows")
        client.stdin.write(b"after\n")
        client.stdin.close()
        assert client.stdout.read() == b"after\n"
        assert client.wait(START_SECONDS) == 0
