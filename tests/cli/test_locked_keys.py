"""Keys of the user's own: with a passphrase, in an agent, and what is said where neither helps."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.cli.terminal import Terminal, restored
from tests.client.test_agent import ssh_agent
from tests.server_process import HOST, PATIENCE, ServerProcess, one_line
from tests.tools import require_tool
from tests.trust.keys import blob_of, locked
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.ssh_keys import public_line

PASSPHRASE = b"open sesame"

pytestmark = pytest.mark.uncut("the login is over before there is a session to cut")


@pytest.fixture
def key(server: ServerProcess, tmp_path: Path) -> Iterator[str]:
    """The file of a protected key that may log in."""
    private = Ed25519PrivateKey.generate()
    path = tmp_path / "locked"
    path.touch(0o600)
    path.write_bytes(locked(private, PASSPHRASE))
    line = public_line(blob_of(private.public_key()))
    (tmp_path / "locked.pub").write_text(f"{line}\n")
    allowed = Path(ConfigFolders.at(str(server.folder)).authorized_keys_path)
    allowed.write_text(f"{line}\n")
    allowed.chmod(0o600)
    yield str(path)
    allowed.unlink()


def askpass(folder: Path, text: str) -> dict[str, str]:
    """The variables that let a program of the test's answer."""
    program = folder / "askpass"
    program.write_text(f"#!/bin/sh\nprintf '%s' \"$1\" >>'{folder}/asked'\n{text}\n")
    program.chmod(0o700)
    return {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}


def run(server: ServerProcess, key: str, *options: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a client with that key and without a terminal."""
    variables = {name: value for name, value in server.environment.items() if name not in ("SSH_AUTH_SOCK", "DISPLAY")}
    return server.run(*options, "-i", key, HOST, "echo here", env={**variables, **environment}, start_new_session=True)


def test_the_program_of_ssh_askpass(server: ServerProcess, key: str, tmp_path: Path) -> None:
    """``SSH_ASKPASS`` names a program that shows the question and prints the passphrase."""
    done = run(server, key, **askpass(tmp_path, f"echo '{PASSPHRASE.decode()}'"))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"here\n", b"")
    assert (tmp_path / "asked").read_text() == f"Passphrase of the key '{key}': "


@pytest.mark.real
@pytest.mark.parametrize(
    ("text", "said", "times"),
    [
        ("echo wrong", "has another passphrase", 3),
        ("exit 1", "status 1", 1),
        ("exec >&-; exit 7", "status 7", 1),
        ("echo", "no passphrase was given", 1),
        ("head -c 2000 /dev/zero", "no passphrase was given", 1),
    ],
)
def test_no_right_passphrase(server: ServerProcess, key: str, tmp_path: Path, text: str, said: str, times: int) -> None:
    """Three wrong passphrases, or none, are one line and status 255; no other key is tried."""
    done = run(server, key, **askpass(tmp_path, text))
    assert (done.returncode, done.stdout) == (255, b"")
    assert said in one_line(done.stderr)
    assert (tmp_path / "asked").read_text().count("assphrase of the key") == times


@pytest.mark.real
def test_batch_mode_never_asks(server: ServerProcess, key: str, tmp_path: Path) -> None:
    """With BatchMode, and where there is nowhere to ask, the line says how to load the key into an agent."""
    for options, environment in ((("-o", "BatchMode=yes"), askpass(tmp_path, "echo x")), ((), {})):
        done = run(server, key, *options, **environment)
        assert done.returncode == 255
        assert one_line(done.stderr).endswith(
            f"is protected by a passphrase; load it into an agent with: ssh-add {key}"
        )
    assert not (tmp_path / "asked").exists()


@pytest.mark.real
def test_the_terminal(server: ServerProcess, key: str) -> None:
    """On a terminal the passphrase is asked for, not shown, and asked again when it is wrong."""
    command = [sys.executable, "-m", "twisted_rsh.client", "--config-dir", str(server.folder), "-p", str(server.port)]
    words = [*command, "-i", key, HOST, "echo here"]
    with closing(Terminal(words, {**server.environment, "SSH_AUTH_SOCK": ""})) as terminal:
        question = f"Passphrase of the key '{key}':"
        terminal.until(lambda: question in "".join(terminal.lines))
        terminal.type("wrong\n")
        terminal.until(lambda: "That is another passphrase." in "".join(terminal.lines))
        terminal.type(f"{PASSPHRASE.decode()}\n")
        assert terminal.end() == 0
        assert "here" in terminal.lines
        assert not any("wrong" in line or "sesame" in line for line in terminal.lines)
        assert restored(terminal)


@pytest.mark.real
def test_the_agent(server: ServerProcess, key: str, tmp_path: Path) -> None:
    """A protected key, or a public key alone, is signed with by the agent that has it; IdentityAgent names another."""
    with ssh_agent(tmp_path) as path:
        ask = askpass(tmp_path, f"echo '{PASSPHRASE.decode()}'")
        environment = {**os.environ, **ask, "SSH_AUTH_SOCK": path}
        subprocess.run([require_tool("ssh-add"), "-q", key], env=environment, check=True, timeout=PATIENCE)
        for identity in (key, f"{key}.pub"):
            done = run(server, identity, "-o", "BatchMode=yes", SSH_AUTH_SOCK=path)
            assert (done.returncode, done.stdout, done.stderr) == (0, b"here\n", b"")
        done = run(server, f"{key}.pub", "-o", f"IdentityAgent={tmp_path}/none", SSH_AUTH_SOCK=path)
        assert (done.returncode, done.stdout) == (255, b"")
        assert f"the agent at {tmp_path}/none cannot be reached" in one_line(done.stderr)
        done = run(server, f"{key}.pub", "-o", "IdentityAgent=none", SSH_AUTH_SOCK=path)
        assert "is a public key alone" in one_line(done.stderr)
        # A key that is not named is tried when the server refuses the one that is, unless IdentitiesOnly forbids it.
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{key}-other"], check=True)
        done = run(server, f"{key}-other", SSH_AUTH_SOCK=path)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"here\n", b"")
        done = run(server, f"{key}-other", "-o", "IdentitiesOnly=yes", SSH_AUTH_SOCK=path)
        assert done.returncode == 255
        assert "was refused by" in one_line(done.stderr)
