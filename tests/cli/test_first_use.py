"""A-24: the first use of a server that the client does not know, with the real programs on terminals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, restored
from tests.server_process import HOST, PATIENCE, WRONG_PIN, ServerProcess, one_line
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.fingerprint import format_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.known_servers import KnownServers
from twisted_rsh.trust.records import read_record

real = pytest.mark.real

pytestmark = pytest.mark.uncut("the first use is over before there is a session to cut")

QUESTION = "Is it the same?  Type yes, no, or the fingerprint:"


@pytest.fixture
def config(server: ServerProcess, tmp_path: Path) -> ConfigFolders:
    """The folders of a client on another machine, whose key may log in; the server has no record there."""
    folders = ConfigFolders.at(str(tmp_path / "client"))
    line = load_or_create_client_key(folders).public_line
    path = Path(ConfigFolders.at(str(server.folder)).authorized_keys_path)
    path.write_text(f"{line}\n")
    path.chmod(0o600)
    return folders


def command(server: ServerProcess, config: ConfigFolders, *words: str) -> list[str]:
    """The command line of that client."""
    options = ["--config-dir", config.config, "-p", str(server.port)]
    return [sys.executable, "-m", "twisted_rsh.client", *options, *words]


@contextmanager
def on_terminal(server: ServerProcess, config: ConfigFolders, *words: str) -> Iterator[Terminal]:
    """Run the client on a terminal."""
    with closing(Terminal(command(server, config, *words), server.environment)) as terminal:
        yield terminal


def fingerprint_of(server: ServerProcess) -> str:
    """The fingerprint of a server."""
    (record,) = (Path(server.folder) / "run").glob("*.json")
    found = read_record(ConfigFolders.at(str(server.folder)), int(record.stem))
    assert found is not None
    return format_fingerprint(found.spki_sha256)


def known(config: ConfigFolders) -> list[str]:
    """The fingerprints of the servers that the client knows."""
    return [one.fingerprint for one in KnownServers(config)]


@pytest.mark.parametrize("answer", ["yes", pytest.param("fingerprint", marks=real)])
def test_yes(server: ServerProcess, config: ConfigFolders, answer: str) -> None:
    """A-24: a user who says yes, or types the fingerprint, is asked once; the server is known from then on."""
    fingerprint = fingerprint_of(server)
    with on_terminal(server, config, HOST, "echo here") as terminal:
        terminal.shows(QUESTION)
        assert terminal.lines[:2] == [
            f"The key of {HOST} port {server.port} is not known.  Its fingerprint is",
            fingerprint,
        ]
        terminal.type("what?\n")
        terminal.until(lambda: terminal.lines.count(QUESTION) == 2)
        terminal.type(f"{fingerprint if answer == 'fingerprint' else answer}\n")
        assert terminal.end() == 0
        assert "here" in terminal.lines
        assert restored(terminal)
    assert known(config) == [fingerprint]
    done = subprocess.run(
        command(server, config, HOST, "echo again"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=server.environment,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"again\n", b"")


@real
@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("no\n", "was not accepted; nothing was sent there"),
        ("\n", "was not accepted; nothing was sent there"),
        ("\4", "was not accepted; nothing was sent there"),
        ("what?\n" * 5, "was not accepted; nothing was sent there"),
        (f"{WRONG_PIN}\n", "is not the one that you typed; nothing was sent there"),
    ],
    ids=["no", "nothing", "end", "nonsense", "another"],
)
def test_no(server: ServerProcess, config: ConfigFolders, typed: str, line: str) -> None:
    """A-24: any other answer ends the client with one line, and the server stays unknown."""
    with on_terminal(server, config, HOST, "echo here") as terminal:
        terminal.shows(QUESTION)
        terminal.type(typed)
        assert terminal.end() == 255
        assert f"trsh: the key of {HOST} port {server.port} {line}" in terminal.lines
        assert restored(terminal)
    assert known(config) == []


@real
def test_interrupted(server: ServerProcess, config: ConfigFolders) -> None:
    """Ctrl-C at the question ends the client, and gives the terminal back."""
    with on_terminal(server, config, HOST) as terminal:
        terminal.shows(QUESTION)
        terminal.type("\3")
        assert terminal.end() == -signal.SIGINT
        assert restored(terminal)
    assert known(config) == []


@real
def test_console(server: ServerProcess, config: ConfigFolders) -> None:
    """The console asks too, and then has its prompt; keys that were typed before the question do not answer it."""
    with on_terminal(server, config, HOST) as terminal:
        terminal.type("yes\r")
        terminal.shows(QUESTION)
        terminal.type("yes\n")
        terminal.prompt()
        terminal.enter("echo here")
        terminal.shows("here")
        terminal.prompt()
        terminal.type("\4")
        assert terminal.end() == 0


@real
@pytest.mark.parametrize(
    "words",
    [("-oBatchMode=yes",), ("-oStrictHostKeyChecking=yes",), ("-n",)],
    ids=["batch", "strict", "no stdin"],
)
def test_never_where_it_is_forbidden(server: ServerProcess, config: ConfigFolders, words: tuple[str, ...]) -> None:
    """A-24: with `BatchMode` and the like nothing is asked on a terminal either."""
    with on_terminal(server, config, *words, HOST, "echo here") as terminal:
        assert terminal.end() == 255
        (line,) = terminal.lines
        assert line.startswith(f"trsh: no server of yours is known on port {server.port} of this machine; start one")


@pytest.mark.parametrize("option", ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null"])
def test_without_a_terminal(tmp_path: Path, option: str) -> None:
    """A-24: without a terminal an unknown server is refused with the command that makes it known, and no option that
    weakens ``ssh`` weakens this client."""
    words = ["--config-dir", str(tmp_path), option, "-l", "ada", "192.0.2.1", "true"]
    done = subprocess.run(
        [sys.executable, "-m", "twisted_rsh.client", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "HOME": str(tmp_path)},
        timeout=PATIENCE,
    )
    assert done.returncode == 255
    assert one_line(done.stderr) == (
        f"the key of 192.0.2.1 port 8082 is not known; run: trshctl enroll --config-dir {tmp_path} --fingerprint "
        "SHA256:... ada@192.0.2.1:8082, with the fingerprint that its server's log shows"
    )


@real
def test_changed_key_on_a_terminal(server: ServerProcess, config: ConfigFolders) -> None:
    """A-24: a changed key stops the client, also on a terminal: nothing is asked."""
    KnownServers(config).add(HOST, server.port, bytes(32))
    with on_terminal(server, config, "-oStrictHostKeyChecking=no", HOST, "echo here") as terminal:
        assert terminal.end() == 255
        text = "".join(terminal.lines)
    assert QUESTION not in text
    assert "has changed: it is " in text
    assert WRONG_PIN in text
    assert f"trshctl enroll --config-dir {config.config} --fingerprint {fingerprint_of(server)}" in text


@real
def test_fingerprint_is_needed_once(server: ServerProcess, config: ConfigFolders) -> None:
    """A fingerprint on the command line makes the server known; one that is wrong does not."""

    def run(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command(server, config, *words, HOST, "echo here"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=server.environment,
            timeout=PATIENCE,
        )

    assert run("--fingerprint", WRONG_PIN).returncode == 255
    assert known(config) == []
    for words in (("--fingerprint", fingerprint_of(server)), ()):
        done = run(*words)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"here\n", b"")
    assert known(config) == [fingerprint_of(server)]
    Path(config.known_servers_path).chmod(0o666)
    done = run("--fingerprint", fingerprint_of(server))
    assert (done.returncode, done.stdout) == (0, b"here\n")
    assert one_line(done.stderr).startswith(f"the server is not remembered: {config.known_servers_path} is writable by")
    assert run().returncode == 255
