"""pdsh over ``trsh``: by its module for ssh, and by the one that runs any program."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box

pytestmark = pytest.mark.real


@pytest.fixture
def pdsh(box: Box, tmp_path: Path) -> Box:
    """The server, with a folder at the head of the path in which ``trsh`` is called ``ssh``."""
    require_tool("pdsh")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").symlink_to(box.trsh)
    return box


def test_both_ways(pdsh: Box, tmp_path: Path) -> None:
    """Each host runs the command; the highest status is pdsh's."""
    path = {"PATH": f"{tmp_path}/bin:{pdsh.environment['PATH']}"}
    done = pdsh.run("pdsh", "-R", "ssh", "-S", "-w", "box1,box2", "echo $((1+1)); exit 3", env=path, status=3)
    assert sorted(done.stdout.splitlines()) == ["box1: 2", "box2: 2"]
    words = (
        "pdsh",
        "-R",
        "exec",
        "-S",
        "-w",
        "box1,box2",
        "trsh",
        "%h",
        "printf '%s|'",
        "'two  words'",
        "%h; echo; exit 4",
    )
    done = pdsh.run(*words, status=4)
    assert sorted(done.stdout.splitlines()) == ["box1: two  words|box1|", "box2: two  words|box2|"]


def test_errors(pdsh: Box, tmp_path: Path) -> None:
    """A host at which nothing answers does not keep the others from their work."""
    path = {"PATH": f"{tmp_path}/bin:{pdsh.environment['PATH']}"}
    done = pdsh.run("pdsh", "-R", "ssh", "-S", "-w", "box1,closed", "echo in", env=path, status=255)
    assert done.stdout == "box1: in\n"
    assert "closed: trsh: no server of yours is known on port 1" in done.stderr


def test_interrupted(pdsh: Box, tmp_path: Path) -> None:
    """Ctrl-C ends the command on the server."""
    fifo = tmp_path / "fifo"
    path = {"PATH": f"{tmp_path}/bin:{pdsh.environment['PATH']}"}
    pdsh.interrupt(fifo, "pdsh", "-b", "-R", "ssh", "-w", "box1", f"echo $$ > {fifo}; exec sleep 600", env=path)
