"""Open MPI's launcher over ``trsh``: processes on two hosts, errors and Ctrl-C."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box

pytestmark = pytest.mark.real

WORDS = ("--mca", "btl", "self,tcp", "--oversubscribe", "--allow-run-as-root")


@pytest.fixture
def mpirun(box: Box) -> Box:
    """The server, if there is mpirun."""
    require_tool("mpirun")
    return box


def words(box: Box) -> tuple[str, ...]:
    """The beginning of a command line.  What runs on the host looks for the program too, on its own path."""
    return ("mpirun", "--mca", "plm_rsh_agent", box.trsh, *WORDS)


def test_hosts(mpirun: Box) -> None:
    """Both hosts run the program, and its status is mpirun's."""
    done = mpirun.run(*words(mpirun), "--host", "box1,box2", "sh", "-c", "echo rank $OMPI_COMM_WORLD_RANK")
    assert sorted(done.stdout.splitlines()) == ["rank 0", "rank 1"]
    mpirun.run(*words(mpirun), "--host", "box1", "sh", "-c", "exit 3", status=3)


def test_errors(mpirun: Box) -> None:
    """A host at which nothing answers is mpirun's error, with our line beside it."""
    done = mpirun.run(*words(mpirun), "--host", "closed", "true", status=None)
    assert "no server of yours is known on port 1" in done.stderr


def test_interrupted(mpirun: Box, tmp_path: Path) -> None:
    """Ctrl-C ends the processes on the hosts."""
    fifo = tmp_path / "fifo"
    mpirun.interrupt(fifo, *words(mpirun), "--host", "box1", "sh", "-c", f"echo $$ > {fifo}; exec sleep 600")
