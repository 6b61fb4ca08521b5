"""The commands on the pages, typed in as they stand; none is left out without a reason."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.pages import PAGES, ROOT, Command, commands_of, run_commands, sections_of
from tests.server_process import wait_until_gone
from tests.system.running import START_SECONDS, STOP_SECONDS, own_environment, require, wait_until
from tests.tools import require_tool

RUN_ELSEWHERE = {
    "docs/recipes.rst": "tests/tools/test_recipes.py",
    "docs/coming_from_ssh.rst": "tests/test_coming_from_ssh.py",
    "docs/fleet.rst": "tests/fleet/test_documented_commands.py",
}
"""The pages that other tests run, section by section."""

CI = "it installs this package, or everything for its developers"
OTHER_TESTS = "another test runs the same program"

NOT_RUN = {
    "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/python -m twisted_rsh": (CI, ".ci/run"),
    "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/python -m pytest": (CI, ".ci/run"),
    "python3 -m venv .venv": (CI, ".ci/run"),
    "sudo -u build trsh unix:/run/user/1002/twisted-rsh/8082.sock make": (
        "it needs another account",
        "tests/system/test_unix_socket.py",
    ),
    "twistd -n rsh --listen unix:$HOME/rsh/host.sock": (OTHER_TESTS, "tests/system/test_unix_socket.py"),
    "podman run -v $HOME/rsh:/rsh my-image trsh -l $USER unix:/rsh/host.sock make": (
        "it needs podman and an image; the next command does the same without",
        "tests/system/test_unix_socket.py",
    ),
    "unshare -Urm sh -c 'mount -B ~/rsh /mnt; exec trsh -l $USER unix:/mnt/host.sock make'": (
        OTHER_TESTS,
        "tests/system/test_unix_socket.py",
    ),
    ".venv/bin/pip install -e '.[dev]'": (CI, ".ci/run"),
    ".venv/bin/pre-commit install": ("it changes the hooks of the clone", ".pre-commit-config.yaml"),
    ".venv/bin/python -m twisted_rsh.client": ("a person types at the console", "tests/test_try_it.py"),
    ".venv/bin/trsh -t 127.0.0.1 top": ("a person looks at it", "tests/cli/test_terminal.py"),
    "sudo ss --kill state established '( dport = :8082 )'": ("it needs root", "tests/test_examples.py"),
    "python3 -m venv .venv && .venv/bin/pip install . asyncssh 'twisted[conch]'": (CI, "bench/run.py"),
    ".venv/bin/python -m bench.run --rounds 5 --json results.json --plot results.svg": (
        OTHER_TESTS,
        "tests/test_bench.py",
    ),
    'eval "$(python3 -m twisted_rsh.ansible)"': (OTHER_TESTS, "tests/tools/test_ansible_plugin.py"),
    "ansible -i 127.0.0.1, all -e ansible_connection=twisted_rsh -m ping": (
        OTHER_TESTS,
        "tests/tools/test_ansible_plugin.py",
    ),
    "examples/ansible/run": (OTHER_TESTS, "tests/tools/test_ansible_plugin.py"),
    "python -m pip install atheris": ("it installs another package", "fuzz/run.py"),
    "python fuzz/run.py --seconds 60": (OTHER_TESTS, "tests/test_fuzz_targets.py"),
}
"""The commands that are not run here: the reason, and the file that runs or holds what they are about."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A user who types what a page says.

    :ivar home: the user's home folder.
    :ivar here: the folder of the commands, with an environment ``.venv`` in it.
    :ivar environment: of the commands.
    """

    home: Path
    here: Path
    environment: Mapping[str, str]

    @classmethod
    def at(cls, folder: Path) -> Reader:
        """Make one, in a folder of its own."""
        home, here = folder / "home", folder / "here"
        for path in (home, here):
            path.mkdir(parents=True, mode=0o700)
        (here / ".venv").symlink_to(sys.prefix)
        scripts = str(Path(sys.executable).parent)
        return cls(home, here, own_environment(home, TERM="xterm", PATH=f"{scripts}:{os.environ['PATH']}"))

    def type(
        self, commands: Sequence[Command], stands_for: Mapping[str, str] | None = None, program: str = "bash"
    ) -> list[str]:
        """Type commands; see :func:`tests.pages.run_commands`."""
        return run_commands(commands, self.here, self.environment, stands_for, program)

    @property
    def record(self) -> Path | None:
        """The record of the user's server; ``None`` while there is none."""
        return next((self.home / ".local/state/twisted-rsh/run").glob("*.json"), None)

    def settle(self, record: Path) -> str:
        """Let the client find a server that listens on another port than 8082, also as ``host``; return the port."""
        folder = self.home / ".config" / "twisted-rsh"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "config").write_text(f"Host 127.0.0.1 host\n    HostName 127.0.0.1\n    Port {record.stem}\n")
        (folder / "config").chmod(0o600)
        return record.stem

    @contextlib.contextmanager
    def serving(self, command: str) -> Iterator[Path]:
        """Run a server in the foreground, on a free port, for as long as the context lasts; give its record."""
        with (
            (self.here.parent / "server.log").open("wb") as log,
            subprocess.Popen(
                ["sh", "-c", f"exec {command} --port 0"],
                cwd=self.here,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            ) as process,
        ):
            try:
                wait_until(lambda: self.record, START_SECONDS, "the record")
                assert self.record is not None
                yield self.record
            finally:
                process.terminate()
                process.wait(STOP_SECONDS)

    def end_daemon(self) -> None:
        """End the server that twistd has put into the background."""
        pid = int((self.here / "twistd.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        wait_until_gone(pid)


@pytest.fixture
def reader() -> Iterator[Reader]:
    """A user.  The path is short, as homes are: that of a socket may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="rsh-") as folder:
        yield Reader.at(Path(folder))


def typed(page: str, section: str) -> list[Command]:
    """The commands of a section, without those that are not run."""
    return [command for command in commands_of(page, section) if command.text not in NOT_RUN]


RUN = {
    ("README.rst", "Two terminals"),
    ("docs/tutorial.rst", "A server and a client"),
    ("docs/tutorial.rst", "Cut the connection"),
    ("docs/tutorial.rst", "Another machine"),
    ("docs/command_line.rst", "Results for programs"),
    ("docs/command_line.rst", "Completion"),
    ("docs/operating.rst", "Bounds"),
}
"""The sections whose commands the tests below run."""


def test_each_command_is_run() -> None:
    """Each command of the pages is run, here or with the recipes, or stands in the list of those that are not."""
    commands = [command for page in PAGES if page not in RUN_ELSEWHERE for command in commands_of(page)]
    assert len(commands) > 20
    forgotten = [command for command in commands if (command.page, command.section) not in RUN]
    assert [f"{it.page}:{it.line}: {it.text}" for it in forgotten if it.text not in NOT_RUN] == []
    assert sorted(set(NOT_RUN) - {command.text for command in commands}) == []
    tests = Path(__file__).read_text("utf-8")
    assert [section for page, section in RUN if tests.count(f'"{section}"') < 2] == []
    assert all(section in sections_of(page) for page, section in RUN)


def test_what_runs_instead_exists() -> None:
    """The files that run other pages, and those that reasons name, exist."""
    names = [*RUN_ELSEWHERE.values(), *(name for _, name in NOT_RUN.values())]
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_a_broken_command_is_found(reader: Reader) -> None:
    """A command that fails, one that prints something else, and one that ends the shell fail their test."""

    def command(text: str, *output: str) -> Command:
        return Command("page.rst", "Section", 1, text, output)

    reader.type([command("false; echo $?", "1"), command("(exit 3)"), command("echo $?", "3")])
    reader.type([command("echo one two three", "one ... three")])
    for commands in ([command("false")], [command("echo one", "two")], [command("exit 0")]):
        with pytest.raises(AssertionError):
            reader.type(commands)


@pytest.mark.real
def test_readme(reader: Reader) -> None:
    """README's two terminals: the daemon, a pipe of tar, a limit, and a script."""
    server, *clients = typed("README.rst", "Two terminals")
    (reader.home / "src").mkdir()
    (reader.home / "src" / "file").write_text("x")
    (reader.here / "commands.txt").write_text("echo from a script > ran\n".replace("ran", str(reader.here / "ran")))
    assert "--port 8082" in server.text
    reader.type([server], {"--port 8082": "--port 0"})
    try:
        wait_until(lambda: reader.record, START_SECONDS, "the record")
        assert reader.record is not None
        port = reader.settle(reader.record)
        # The commands begin in the home folder of the account, which is not the reader's here.
        reader.type(clients, {"8082": port, "tar -cf - src": f"cd {reader.home} && tar -cf - src"})
    finally:
        reader.end_daemon()
    assert (reader.here / "src" / "file").read_text() == "x"
    assert (reader.here / "ran").read_text() == "from a script\n"


@pytest.mark.real
def test_tutorial(reader: Reader) -> None:
    """The first steps: a server, a command with its outputs and status, and the loop whose connection is cut."""
    server, *clients = typed("docs/tutorial.rst", "A server and a client")
    with reader.serving(server.text) as record:
        reader.settle(record)
        reader.type(clients)
        [output] = reader.type(typed("docs/tutorial.rst", "Cut the connection"), {"sleep 1": "sleep 0.01"})
    assert output.split() == [str(number) for number in range(1, 61)]


@pytest.mark.real
def test_another_machine(reader: Reader, tmp_path: Path) -> None:
    """A client on another machine uses the line of an invitation, and both know each other's keys from then on."""
    server, invite, enroll, client = typed("docs/tutorial.rst", "Another machine")
    other = Reader.at(tmp_path / "other")
    with reader.serving(server.text.replace("192.0.2.7", "127.0.0.1")) as record:
        other.settle(record)
        [line] = reader.type([replace(invite, output=())])
        assert line.startswith(f"rsh1:{getpass.getuser()}@127.0.0.1:{record.stem}:")
        words = {"rsh1:alice@192.0.2.7:8082:...": line.strip(), "alice@192.0.2.7": f"{getpass.getuser()}@127.0.0.1"}
        other.type([replace(enroll, output=())], words)
        [output] = other.type([client], words)
    assert os.uname().nodename in output


@pytest.mark.real
def test_results_for_programs(reader: Reader) -> None:
    """The object of ``--json`` has the members that the page shows, and their values but for what is measured."""
    [command] = typed("docs/command_line.rst", "Results for programs")
    with reader.serving(".venv/bin/twistd -n rsh") as record:
        reader.settle(record)
        failing = replace(command, text=f"{command.text}; echo status $?", output=())
        [output] = reader.type([failing])
    first, _, status = output.strip().partition("\n")
    assert status == "status 3"
    shown, printed = json.loads(" ".join(command.output)), json.loads(first)
    assert list(shown) == list(printed)
    assert list(shown["usage"]) == list(printed["usage"])
    measured = ("usage", "seconds", "port")
    assert {name: shown[name] for name in shown if name not in measured} == {
        name: printed[name] for name in printed if name not in measured
    }


@pytest.mark.real
def test_completion(reader: Reader) -> None:
    """The scripts for bash and zsh are evaluated without a complaint."""
    for_bash, for_zsh = typed("docs/command_line.rst", "Completion")
    assert reader.type([for_bash]) == [""]
    require_tool("zsh")
    load = Command(for_zsh.page, for_zsh.section, for_zsh.line, "autoload -Uz compinit && compinit -D -u", ())
    assert reader.type([load, for_zsh], program="zsh") == ["", ""]


@pytest.mark.real
def test_many_sessions(reader: Reader) -> None:
    """The server for 2,000 sessions starts with the bounds of the page."""
    require(resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 20_000, "this user may not have 20,000 descriptors")
    descriptors, server = typed("docs/operating.rst", "Bounds")
    reader.type([descriptors, server], {"twistd rsh": "twistd rsh --port 0"})
    reader.end_daemon()
