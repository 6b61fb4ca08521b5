"""Keys with options, as docs/key_options.rst has them, under real tools: ``rrsync``, sftp, Ansible, ``trsh``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box, running_box
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.home import ConfigFolders

pytestmark = pytest.mark.real


@dataclass(frozen=True, slots=True)
class Keyed:
    """A server whose client has a key with options.

    :ivar box: the server.
    :ivar config: its folders, which are the client's as well.
    """

    box: Box
    config: ConfigFolders

    def allow(self, options: str) -> None:
        """Let the client's key in with these options alone."""
        path = Path(self.config.authorized_keys_path)
        path.write_text(f"{options} {load_or_create_client_key(self.config).public_line}\n")
        path.chmod(0o600)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """The server."""
    folder = tmp_path_factory.mktemp("keyed")
    folder.chmod(0o700)
    with running_box(folder) as box:
        box.environment |= {"RSYNC_RSH": "trsh"}
        yield Keyed(box, ConfigFolders.at(str(folder / "twisted-rsh")))


def test_rrsync(keyed: Keyed, tmp_path: Path) -> None:
    """A key for ``rrsync`` reads one folder, writes nothing, and runs nothing else."""
    require_tool("rsync")
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_text("x")
    keyed.allow(f'restrict,command="{require_tool("rrsync")} -ro {data}"')
    keyed.box.run("rsync", "-a", "box:file", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "x"
    keyed.box.run("rsync", "-a", tmp_path / "copy", "box:other", status=None)
    keyed.box.run("rsync", "-a", "box:../copy", tmp_path / "outside", status=None)
    done = keyed.box.run("trsh", "box", f"touch {tmp_path}/made", status=None)
    assert "rrsync" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "data"]
    assert [path.name for path in data.iterdir()] == ["file"]


def test_sftp_alone(keyed: Keyed, tmp_path: Path) -> None:
    """A key for sftp that may read alone gets files, puts none, and runs nothing else."""
    require_tool("sftp")
    server = Path("/usr/lib/openssh/sftp-server")
    if not server.exists():
        pytest.skip("there is no sftp-server of OpenSSH")
    (tmp_path / "file").write_text("x")
    keyed.allow(f'restrict,command="{server} -R"')
    keyed.box.run("sftp", "-q", "-S", "trsh", f"box:{tmp_path}/file", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "x"
    batch = tmp_path / "batch"
    batch.write_text(f"put {tmp_path}/file {tmp_path}/put\n")
    keyed.box.run("sftp", "-q", "-S", "trsh", "-b", batch, "box", status=None)
    keyed.box.run("trsh", "-n", "box", f"touch {tmp_path}/made")  # the server of files, at the end of its input
    assert not {"put", "made"} & {path.name for path in tmp_path.iterdir()}


def test_original_command(keyed: Keyed) -> None:
    """A script finds what the client asked for, and none of its variables."""
    keyed.allow(r'restrict,command="echo \"$SSH_ORIGINAL_COMMAND|$TWISTED_RSH_ORIGINAL_COMMAND|$LANG_OF_MINE\""')
    done = keyed.box.run("trsh", "-o", "SetEnv=LANG_OF_MINE=x", "box", "ls", "'a b'")
    assert done.stdout == "ls 'a b'|ls 'a b'|\n"


def test_no_terminal(keyed: Keyed) -> None:
    """A client that asks for a terminal reads in one line that its key may have none."""
    keyed.allow("no-pty")
    assert keyed.box.run("trsh", "box", "echo", "here").stdout == "here\n"
    done = keyed.box.run("trsh", "-tt", "box", "true", status=None)
    assert done.stderr == "trsh: your key may have no terminal (no-pty); ask for none with -T\n"


def test_observer(keyed: Keyed) -> None:
    """An observer reads the sessions as JSON, and nothing else."""
    keyed.allow("observer")
    done = keyed.box.run("trsh", "-s", "box", "sessions")
    (session,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert session["attached"] is True
    done = keyed.box.run("trsh", "box", "true", status=None)
    assert done.stderr == "trsh: your key is an observer's and starts nothing; ask for the subsystem sessions\n"


def test_processes(keyed: Keyed) -> None:
    """R-10: a job that starts more processes than its key allows is ended, and one that starts fewer is not."""
    keyed.allow('max-processes="5",max-output="3"')
    assert keyed.box.run("trsh", "box", "echo hi").stdout == "hi\n"
    done = keyed.box.run("trsh", "box", "for i in 1 2 3 4 5 6 7 8; do sleep 60 & done; wait", status=None)
    assert "5 processes" in done.stderr
    done = keyed.box.run("trsh", "box", "echo four", status=None)
    assert done.stdout == "fou"


def test_wrong_line(keyed: Keyed) -> None:
    """A-14: a line with an option that is not known lets the key in nowhere."""
    keyed.allow('permitopen="localhost:80"')
    done = keyed.box.run("trsh", "box", "true", status=255)
    assert "was refused" in done.stderr


def test_ansible(keyed: Keyed, tmp_path: Path) -> None:
    """Ansible's own programs work with a key without terminals, from one address, and with limits."""
    require_tool("ansible")
    keyed.allow('no-pty,from="127.0.0.0/8",max-jobs="20",max-memory="1G",max-processes="200"')
    done = keyed.box.run(
        "ansible", "-i", "box,", "box", "-m", "command", "-a", "echo here",
        env={
            "ANSIBLE_HOME": str(tmp_path), "ANSIBLE_SSH_EXECUTABLE": keyed.box.trsh, "ANSIBLE_SSH_ARGS": "",
            "ANSIBLE_SSH_USETTY": "False",
        },
    )  # fmt: skip
    assert "here" in done.stdout
