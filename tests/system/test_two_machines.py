"""docs/two_machines.rst, letter by letter: two machines, four ways, and each from nothing.

The machines are two network namespaces with a cable between them, and homes of their own.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pexpect
import pytest

from tests.system.running import CLIENT_SECONDS, SCRIPTS, START_SECONDS, own_environment, require, wait_until

pytestmark = [pytest.mark.real, pytest.mark.uncut("the machines are namespaces, which no proxy is between")]

PLACE = Path(__file__).parents[2] / "docs" / "two_machines.rst"
PAGE = PLACE.read_text("utf-8")

ADDRESS = "192.0.2.7"

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def section(title: str) -> list[str]:
    """The lines of the console blocks of a section; the section before the first title has the name ``start``."""
    parts = re.split(r"^(.+)\n-{4,}$", PAGE, flags=re.MULTILINE)
    text = parts[0] if title == "start" else parts[parts.index(title) + 1]
    blocks = re.findall(r"^\.\. code-block:: console\n\n((?:   .*\n)+)", text, flags=re.MULTILINE)
    return [line[3:] for block in blocks for line in block.splitlines()]


@dataclass
class Machine:
    """One of the machines.

    :ivar prefix: the words that run a command there.
    :ivar home: the home of its user.
    :ivar tools: a folder of programs that come before the system's.
    """

    prefix: list[str]
    home: Path
    tools: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its user."""
        return own_environment(self.home, PATH=f"{self.tools}:{SCRIPTS}:{os.environ['PATH']}", TERM="dumb")

    def words(self, command: str) -> list[str]:
        """The words that type a command there."""
        return [*self.prefix, "sh", "-c", command]

    def run(self, command: str) -> str:
        """Type a command, which must succeed and tell nothing on stderr."""
        done = subprocess.run(
            self.words(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.home,
            timeout=CLIENT_SECONDS,
        )
        assert (done.returncode, done.stderr) == (0, ""), (command, done)
        return done.stdout


@dataclass
class Two:
    """Both machines, and what stands for the dots on the page."""

    server: Machine
    client: Machine
    dots: dict[str, str] = field(default_factory=dict)

    def follow(self, title: str) -> None:
        """Type the commands of a section, and compare what they print with the page."""
        lines = section(title)
        assert lines, title
        while lines:
            prompt, _, command = lines.pop(0).partition("$ ")
            expected = []
            while lines and not re.match(r"(server|client)\$ ", lines[0]):
                expected.append(lines.pop(0))
            machine = {"server": self.server, "client": self.client}[prompt]
            printed = machine.run(self.fill(command)).splitlines()
            assert len(printed) == len(expected), (command, printed)
            for line, wanted in zip(printed, expected, strict=True):
                self.compare(line, wanted)

    def fill(self, text: str) -> str:
        """Put what was printed in the place of dots, and this machine's names in the place of the page's."""
        for before, whole in self.dots.items():
            text = text.replace(f"{before}...", whole)
        return text.replace("alice", getpass.getuser())

    def compare(self, line: str, wanted: str) -> None:
        """Compare a line with one of the page, whose dots stand for anything, and remember what that is."""
        pattern = re.escape(self.fill(wanted)).replace(re.escape("..."), r"[^\s\"]+")
        assert re.fullmatch(pattern, line), (line, wanted)
        for before in re.findall(r"(SHA256:|rsh1:\S*:|AAAA)\.\.\.", wanted):
            found = re.search(re.escape(self.fill(before)) + r"[^\s\"]+", line)
            assert found is not None
            self.dots[before] = found[0]


def ip(*words: str) -> None:
    """Run ``ip``."""
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=START_SECONDS)


@contextmanager
def cable() -> Iterator[tuple[list[str], list[str]] | None]:
    """Make two namespaces with a cable between them; give the words to run something in each."""
    names = [f"rsh-{end}-{os.getpid()}" for end in ("server", "client")]
    try:
        # One after another: the first on a machine mounts a folder, which fails while another does so.
        with PLACE.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for name in names:
                ip("netns", "add", name)
        for name in names:
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", names[0], "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", names[1])
        for name, address in zip(names, (ADDRESS, "192.0.2.9"), strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
    except (OSError, subprocess.CalledProcessError):
        yield None
    else:
        server, client = (["ip", "netns", "exec", name] for name in names)
        yield server, client
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=START_SECONDS, check=False)


@pytest.fixture
def two() -> Iterator[Two]:
    """Both machines, with a server that was started as the page says."""
    # A short name: the path of the server's socket has room for 107 bytes.
    with tempfile.TemporaryDirectory(prefix="rsh-") as place, cable() as ends:
        homes = [Path(place, name) for name in ("server", "client", "tools")]
        for home in homes:
            home.mkdir(mode=0o700)
        require(ends is not None, "network namespaces are not allowed here")
        assert ends is not None
        machines = Two(Machine(ends[0], homes[0], homes[2]), Machine(ends[1], homes[1], homes[2]))
        (command,) = section("start")
        with subprocess.Popen(
            [*machines.server.prefix, *command.removeprefix("server$ ").split()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=machines.server.environment,
            cwd=homes[0],
        ) as process:
            run = homes[0] / ".local" / "state" / "twisted-rsh" / "run"
            try:
                wait_until(lambda: any(run.glob("*.sock")), START_SECONDS, "the server's socket")
                yield machines
            finally:
                process.terminate()
                process.wait(START_SECONDS)


def test_by_an_invitation(two: Two) -> None:
    """A-22: an invitation, and then the client needs no further word."""
    two.follow("With an invitation")
    two.follow("Afterwards")


def test_by_hand(two: Two) -> None:
    """The client's key and the server's fingerprint, each carried once."""
    two.follow("By hand")
    two.follow("Afterwards")


def test_on_a_terminal(two: Two) -> None:
    """A-24: the question of the first use, as the page shows it."""
    two.server.run(f"echo '{two.client.run('trshctl key').strip()}' | twisted-rsh enroll-key")
    command, *shown = section("On a terminal")
    words = two.client.words(two.fill(command.removeprefix("client$ ")))
    terminal = pexpect.spawn(
        words[0], words[1:], env=two.client.environment, cwd=str(two.client.home), timeout=CLIENT_SECONDS
    )
    for line in shown[: shown.index("yes")]:
        two.compare(terminal.readline().decode().rstrip(), line)
    terminal.sendline("yes")
    terminal.expect_exact("yes\r\n")
    terminal.expect_exact(f"{shown[-1]}\r\n")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    two.follow("Afterwards")


@pytest.fixture
def sshd(two: Two, tmp_path: Path) -> Iterator[None]:
    """A real ``sshd`` on the server, which lets the client in, and the client's configuration of ``ssh``."""
    require(SSHD is not None and shutil.which("ssh"), "OpenSSH's sshd and ssh are not installed")
    assert SSHD is not None
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True, timeout=60)
    host_key = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"{ADDRESS} {host_key}")
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    # sshd takes the home folder of the account from the system, and ssh does too.
    login = folder / "login"
    login.write_text(
        f"#!/bin/sh\nexport HOME={two.server.home} PATH={two.server.environment['PATH']}\necho a message of the day\n"
        'exec sh -c "$SSH_ORIGINAL_COMMAND"\n'
    )
    login.chmod(0o700)
    (folder / "sshd_config").write_text(
        f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\nPidFile none\n"
        f"PermitRootLogin yes\nPasswordAuthentication no\nForceCommand {login}\n"
    )
    (folder / "ssh_config").write_text(
        f"IdentityFile {folder}/user\nUserKnownHostsFile {folder}/known\nBatchMode yes\n"
    )
    wrapper = two.client.tools / "ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    wrapper.chmod(0o700)
    with subprocess.Popen(
        [*two.server.prefix, SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(
                lambda: (
                    subprocess.run(
                        two.client.words(f"ssh {ADDRESS} true"),
                        env=two.client.environment,
                        capture_output=True,
                        timeout=60,
                    ).returncode
                    == 0
                ),
                START_SECONDS,
                "a login by SSH",
            )
            yield
        finally:
            process.terminate()


@pytest.mark.usefixtures("sshd")
def test_over_ssh(two: Two) -> None:
    """An SSH login with a real ``sshd``, which prints a message before the answer."""
    two.follow("Over SSH")
    two.follow("Afterwards")
