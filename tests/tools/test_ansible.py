"""Ansible's own ``ssh`` plugin with ``trsh``: modules, pipelining, transfers, failed and unreachable hosts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box

pytestmark = pytest.mark.real

TRANSFER_SECONDS = 240.0
"""Seconds that a copy of a file, or a play, may take: Ansible starts several clients for each task."""

ATTEMPTS = 5
"""Tries of what depends on how fast a program ends."""


@pytest.fixture
def ansible(box: Box, tmp_path: Path) -> Box:
    """The server, with an environment in which Ansible calls ``trsh`` and copies without sftp."""
    require_tool("ansible-playbook")
    box.environment |= {
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(tmp_path / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "ANSIBLE_SSH_EXECUTABLE": box.trsh,
        "ANSIBLE_SSH_PIPELINING": "1",
        "ANSIBLE_SSH_RETRIES": "0",
        "ANSIBLE_SSH_TRANSFER_METHOD": "piped",
    }
    return box


PLAY = """
- hosts: box1
  gather_facts: false
  tasks:
    - ping:
    - copy: {{src: {folder}/data, dest: {folder}/copied}}
    - fetch: {{src: {folder}/copied, dest: {folder}/fetched, flat: true}}
    - shell: echo $((40 + 2))
      register: sum
    - assert: {{that: sum.stdout == "42"}}
    - shell: sleep 1; echo late
      async: 60
      poll: 1
      register: later
    - assert: {{that: later.stdout == "late"}}
    - meta: reset_connection
    - command: "false"
"""


def test_play(ansible: Box, tmp_path: Path) -> None:
    """Modules run, also in the background; a file goes there and comes back; a reset; a failed task fails its host."""
    (tmp_path / "data").write_bytes(os.urandom(2_000_000))
    (tmp_path / "play.yml").write_text(PLAY.format(folder=tmp_path))
    done = ansible.run("ansible-playbook", "-i", "box1,", tmp_path / "play.yml", status=2, timeout=TRANSFER_SECONDS)
    assert (tmp_path / "fetched").read_bytes() == (tmp_path / "data").read_bytes()
    assert "ok=7 " in done.stdout, done.stdout
    assert "unreachable=0" in done.stdout
    assert "failed=1" in done.stdout


def test_default_transfer(ansible: Box, tmp_path: Path) -> None:
    """Ansible copies 60 MB and fetches them, by sftp unless told otherwise; a command that exits with 255 is failed."""
    require_tool("sftp")
    data, copied, fetched = (tmp_path / name for name in ("data", "copied", "fetched"))
    data.write_bytes(os.urandom(1_000_000) * 60)
    settings = {"ANSIBLE_SSH_TRANSFER_METHOD": "smart", "ANSIBLE_SFTP_EXTRA_ARGS": f"-S {ansible.trsh}"}
    words = ("ansible", "-i", "box1,", "all", "-m")
    for module, arguments in (
        ("copy", f"src={data} dest={copied}"),
        ("fetch", f"src={copied} dest={fetched} flat=true"),
    ):
        done = ansible.run(*words, module, "-a", arguments, "-vvv", env=settings, timeout=TRANSFER_SECONDS)
        assert "EXEC sftp -b -" in done.stdout
    assert fetched.read_bytes() == copied.read_bytes() == data.read_bytes()
    done = ansible.run(*words, "raw", "-a", "exit 255", env=settings, status=2)
    assert "UNREACHABLE" not in done.stdout


def test_unreachable(ansible: Box) -> None:
    """A host at which nothing answers is unreachable, which is not failed."""
    # A program that takes no input any more has a millisecond to end; otherwise Ansible says nothing of its reason.
    for _ in range(ATTEMPTS):
        done = ansible.run("ansible", "-i", "closed,", "all", "-m", "ping", status=4)
        assert "UNREACHABLE" in done.stdout
        if "Broken pipe" not in done.stdout:
            break
    assert "no server of yours is known on port 1" in done.stdout


def test_interrupted(ansible: Box, tmp_path: Path) -> None:
    """Ctrl-C ends the task on the server."""
    fifo = tmp_path / "fifo"
    words = ("ansible", "-i", "box1,", "all", "-m", "raw", "-a", f"echo $$ > {fifo}; exec sleep 600")
    assert ansible.interrupt(fifo, *words) != 0
