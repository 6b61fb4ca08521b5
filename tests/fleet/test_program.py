"""``trsh --hosts`` as its users run it: real processes, a real server, a terminal."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.terminal import Terminal
from tests.server_process import PATIENCE, needs_full
from tests.system.running import own_environment, running_server, unmeasured
from tests.tools.box import Box
from twisted_rsh.cli.destination import UsageError
from twisted_rsh.cli.fleet_program import _make_room

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]

MEMORY_MB = 200
"""What 200 hosts at once may take."""


def run(site: Box, *words: str, status: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the client to its end; check its status, and that it shows nothing of Python."""
    return site.run(site.trsh, *words, status=status, **options)


def test_endings_are_told_apart(site: Box) -> None:
    """Each way to end has its line, with its hosts folded; the status is the greatest."""
    command = 'case $RELEASE in 1.9) kill -9 $$;; esac; echo "$RELEASE"; echo err >&2; exit 3'
    done = run(site, "--hosts", "web[01-04],dead", command, status=255)
    assert done.stdout == f"{'-' * 15}\nweb[01-02,04] (3)\n{'-' * 15}\n2.0\n"
    lines = done.stderr.splitlines()
    assert lines[:4] == ["-" * 15, "web[01-02,04] (3)", "-" * 15, "err"]
    assert lines[4:6] == ["trsh: web[01-02,04]: exited with status 3", "trsh: web03: killed by SIGKILL"]
    assert lines[6].startswith("trsh: dead: unreachable: no server of yours is known on port 1")
    assert lines[7:] == ["trsh: 5 hosts: 4 failed, 1 unreachable"]
    done = run(site, "-q", "--hosts", "web[01-02]", "exit 3", status=3)
    assert (done.stdout, done.stderr) == ("", "")
    done = run(site, "--hosts", "web[01-02]", "--timeout", "0.3", "exec sleep 100", status=124)
    assert "web[01-02]: timed out after 0.3 s" in done.stderr


def test_prefixed_lines(site: Box) -> None:
    """Each line comes behind its host on the stream that it was written to, the last one also without an end."""
    done = run(site, "--prefix", "--hosts", "web[01-02]", "echo out; printf last; echo err >&2")
    assert sorted(done.stdout.splitlines()) == ["web01: last", "web01: out", "web02: last", "web02: out"]
    assert sorted(done.stderr.splitlines()) == ["web01: err", "web02: err"]


def test_json_lines(site: Box) -> None:
    """Each host is one object in one line, with its name and its state, also one that was not reached or not run."""
    done = run(site, "--json", "--hosts", "web[01-02],dead", "cat; exit 5", input="in", stdin=None, status=255)
    found = {members["name"]: members for members in map(json.loads, done.stdout.splitlines())}
    assert found.keys() == {"web01", "web02", "dead"}
    assert [found["web01"][name] for name in ("state", "ending", "exit", "stdout", "status", "command")] == [
        "failed",
        "exited",
        5,
        "in",
        5,
        "cat; exit 5",
    ]
    assert (found["dead"]["state"], found["dead"]["ending"], found["dead"]["status"]) == ("unreachable", "failed", 255)
    done = run(site, "--json", "--serial", "1", "--fail-fast", "--hosts", "web[01-02]", "exit 1", status=1)
    states = {members["name"]: members["state"] for members in map(json.loads, done.stdout.splitlines())}
    assert states == {"web01": "failed", "web02": "not run"}


def test_script_and_input(site: Box, tmp_path: Path) -> None:
    """Without a command, stdin is the script of every host; a large input reaches each of them; -n gives none."""
    done = run(site, "--hosts", "web[01-03]", input="echo script", stdin=None)
    assert done.stdout == f"{'-' * 15}\nweb[01-03] (3)\n{'-' * 15}\nscript\n"
    data = tmp_path / "data"
    data.write_bytes(os.urandom(1_000_000))
    with data.open("rb") as file:
        done = run(site, "--parallel", "2", "--hosts", "web[01-03]", "cksum", stdin=file)
    local = subprocess.run(["cksum"], input=data.read_bytes(), capture_output=True, check=True).stdout.decode()
    assert done.stdout == f"{'-' * 15}\nweb[01-03] (3)\n{'-' * 15}\n{local}"
    done = run(site, "-n", "--hosts", "web01", "wc -c", input="unread", stdin=None)
    assert done.stdout.endswith("\n0\n")
    folder = os.open(tmp_path, os.O_RDONLY)
    done = run(site, "--hosts", "web[01-02]", "cat", stdin=folder, status=255)
    os.close(folder)
    assert "trsh: cannot read stdin: Is a directory" in done.stderr.splitlines()


@needs_full
def test_full_disk(site: Box) -> None:
    """Output that cannot be written is one line, and 255, in every way to show it."""
    for option in ("--prefix", "-n"):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [site.trsh, option, "--hosts", "web[01-02]", "echo out"],
                env=site.environment,
                stdin=subprocess.DEVNULL,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=PATIENCE,
            )
        assert (done.returncode, done.stderr) == (255, "trsh: cannot write to stdout: No space left on device\n")


def test_no_room_for_what_is_kept(site: Box) -> None:
    """A temporary file that cannot take the output, or stdin, ends the run with one line that says so, and 255."""
    words = ["--hosts", "web[01-02]"]
    # Coverage would write its own file, which the bound ends as well.
    environment = unmeasured(site.environment)
    for command, data, line in (
        ("yes | head -c 1000000", b"", "trsh: cannot keep the output: File too large"),
        ("cat >/dev/null", bytes(1_000_000), "trsh: cannot keep stdin: File too large"),
    ):
        done = subprocess.run(
            [site.trsh, *words, command],
            env=environment,
            input=data,
            capture_output=True,
            timeout=PATIENCE,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        )
        assert done.returncode == 255
        assert line in done.stderr.decode().splitlines()
        assert b"Traceback" not in done.stderr


def test_unreachable_hosts_are_folded(site: Box) -> None:
    """Hosts that fail for the same reason have one line, though the reason names each one's address."""
    words = ["-oProxyCommand=false", "--hosts", "far[1-3].example.org", "--fingerprint", "SHA256:" + "A" * 43]
    done = run(site, *words, "true", status=255)
    assert len(done.stderr.splitlines()) == 2
    assert done.stderr.startswith("trsh: far[1-3].example.org: unreachable: cannot connect to the host: ")
    done = run(site, "--hosts", "far[1-3].example.org", "true", status=255)
    assert "far[1-3].example.org: unreachable: the key of the host is not known; run: trshctl enroll" in done.stderr


def test_reader_that_leaves(site: Box) -> None:
    """``head`` ends commands that write without an end."""
    line = f"{site.trsh} --prefix --hosts web[01-03] 'exec yes' | head -n 3"
    done = subprocess.run(
        ["bash", "-c", line], env=site.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE
    )
    assert done.stdout.count(b": y\n") == 3
    assert b"Traceback" not in done.stderr


def test_interrupt(site: Box, tmp_path: Path) -> None:
    """Ctrl-C ends the commands with INT and reports; hosts that wait are not begun."""
    fifo = tmp_path / "fifo"
    words = ("--parallel", "1", "--hosts", "web[01-02]", f"echo $$ >{fifo}; exec sleep 600")
    assert site.interrupt(fifo, site.trsh, *words) == 130


def test_second_interrupt(site: Box, tmp_path: Path) -> None:
    """A second signal leaves, though the command ignores the first; the server ends the command."""
    fifo = tmp_path / "fifo"
    command = f"trap '' INT; echo $$ >{fifo}; while :; do sleep 0.1; done"
    signals = (signal.SIGINT, signal.SIGTERM)  # two of one kind may arrive as one
    assert site.interrupt(fifo, site.trsh, "--hosts", "web01", command, signals=signals) == 143


def terminal(site: Box, *words: str) -> Terminal:
    """Run the client on a terminal of its own."""
    return Terminal([site.trsh, *words], site.environment | {"TERM": "xterm"})


def test_bars_on_a_terminal(site: Box, tmp_path: Path) -> None:
    """On a terminal there is a bar for each state while it runs; it is gone from the report."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    shown = terminal(site, "-n", "--hosts", "web[01-03],dead", f": <{fifo}; echo line")
    shown.until(lambda: any(re.fullmatch(r"running +#+ +3", line) for line in shown.lines))
    assert [line.split()[0] for line in shown.lines] == ["waiting", "connecting", "running", "ok", "unreachable"]
    with fifo.open("r+b", 0):
        status = shown.end()
    assert status == 255
    assert "web[01-03] (3)" in shown.lines
    assert not any("#" in line for line in shown.lines)
    assert shown.lines[-1] == "trsh: 4 hosts: 3 ok, 1 unreachable"
    shown.close()


def test_bars_below_live_output(site: Box, tmp_path: Path) -> None:
    """Lines of output appear above the bars, each whole, and the bars come back below them."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    shown = terminal(site, "-n", "--prefix", "--hosts", "web[01-02]", f"echo before; : <{fifo}; echo after")
    shown.until(lambda: any(re.fullmatch(r"running +#+ +2", line) for line in shown.lines))
    shown.until(lambda: sum(line.endswith(": before") for line in shown.lines) == 2)
    shown.until(lambda: shown.lines[2:3] and shown.lines[2].startswith("waiting"))
    with fifo.open("r+b", 0):
        assert shown.end() == 0
    assert sorted(shown.lines[:4]) == ["web01: after", "web01: before", "web02: after", "web02: before"]
    assert shown.lines[4:] == ["trsh: 2 hosts: 2 ok"]
    shown.close()


def test_no_command_on_a_terminal(site: Box) -> None:
    """Without a command there is no console for many hosts: one line, and 255."""
    shown = terminal(site, "--hosts", "web01")
    assert shown.end() == 255
    assert shown.lines == ["trsh: --hosts needs a command, or a script on stdin"]
    shown.close()


@pytest.mark.parametrize(("soft", "hard", "taken"), [(64, 328, 328), (64, -1, 328), (328, 328, None), (-1, -1, None)])
def test_descriptors(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, taken: int | None) -> None:
    """As many descriptors as the hosts at once need are taken, if they are allowed."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (soft, hard))
    limits: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr("resource.setrlimit", lambda *words: limits.append(words))
    _make_room(200)
    assert limits == ([] if taken is None else [(resource.RLIMIT_NOFILE, (taken, hard))])


def test_too_few_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """More hosts at once than descriptors are allowed are refused."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (64, 327))
    with pytest.raises(UsageError, match="200 hosts at once need 328 descriptors, and 327 are allowed"):
        _make_room(200)


@pytest.mark.uncut("it measures memory, which what is sent again takes too")
@pytest.mark.parametrize("option", ["-n", "--prefix"])
def test_memory_of_200_hosts(tmp_path: Path, option: str) -> None:
    """200 hosts at once that write 10 MB together stay within the memory, gathered or line by line."""
    options = ("--interface", "0.0.0.0", "--shell", "/bin/sh", "--max-sessions-per-key", "300")  # noqa: S104 - loopback
    with running_server(tmp_path, *options) as server:
        words = ["--config-dir", str(server.config), "-p", str(server.port), option, "--parallel", "200"]
        command = [*words, "--hosts", "127.0.1.[1-200]", "yes 123456789 | head -n 5000"]
        program = (
            "import resource, sys; from twisted_rsh.cli.__main__ import main; status = main(sys.argv[1:]); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(status)"
        )
        with (tmp_path / "out").open("wb") as out:
            done = subprocess.run(
                [sys.executable, "-c", program, *command],
                env=own_environment(tmp_path),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.PIPE,
                timeout=2 * PATIENCE,
            )
    text = (tmp_path / "out").read_bytes()
    assert done.returncode == 0, done.stderr
    assert int(done.stderr) < MEMORY_MB * 1000
    if option == "-n":
        assert text.splitlines()[1] == b"127.0.1.[1-200] (200)"
        assert text.count(b"\n") == 5000 + 3
    else:
        assert text.count(b": 123456789\n") == text.count(b"\n") == 200 * 5000
