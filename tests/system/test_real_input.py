"""Commands that people really run, on real input: every byte arrives, once and in order."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import pytest

from tests.system.running import RunningServer, own_environment, require, running_server
from tests.tools import require_tool

pytestmark = pytest.mark.real

RANDOM_BYTES = 64 * 1024 * 1024
"""Bytes each way: 256 times the window of a stream."""

PIECE_BYTES = 1024 * 1024
"""Bytes that a test reads at once."""

EXTENSION = r"""
#include <Python.h>

static PyObject *answer(PyObject *self, PyObject *args)
{
    int never_used;
    return PyLong_FromLong(42);
}

static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, "The answer."}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "answering", NULL, -1, methods};

PyMODINIT_FUNC PyInit_answering(void)
{
    return PyModule_Create(&module);
}
"""

SETUP = """
from setuptools import Extension, setup

setup(
    name="answering",
    version="1.0",
    ext_modules=[Extension("answering", ["answering.c"], extra_compile_args=["-Wunused-variable"])],
)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server for all of these."""
    with running_server(tmp_path_factory.mktemp("real-input"), "--shell", "/bin/sh") as server:
        yield server


def digest(stream: IO[bytes]) -> tuple[str, int, int]:
    """Read a stream to its end; return its SHA-256, its bytes and its lines."""
    total, size, lines = hashlib.sha256(), 0, 0
    while piece := stream.read(PIECE_BYTES):
        total.update(piece)
        size += len(piece)
        lines += piece.count(b"\n")
    return total.hexdigest(), size, lines


def digest_of(command: Sequence[str | bytes], environment: dict[str, str]) -> tuple[str, int, int]:
    """Run a command that succeeds and says nothing on stderr; return the digest of its output."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd="/",
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        result = digest(process.stdout)
        assert process.stderr.read() == b""
    assert process.returncode == 0
    return result


def test_tar_stream(server: RunningServer, tmp_path: Path) -> None:
    """Python's own standard library as a tar stream has the same SHA-256 here and there."""
    tar = require_tool("tar")
    library = os.path.dirname(os.__file__)
    words = ["-C", library, "--exclude", "site-packages", "--exclude", "__pycache__", "-cf", "-", "."]
    environment = own_environment(tmp_path)
    local = digest_of([tar, *words], environment)
    assert local[1] > RANDOM_BYTES // 4
    assert digest_of(server.client(tar, *words, options=["--argv"]), environment) == local


def test_find(server: RunningServer, tmp_path: Path) -> None:
    """A long listing arrives with as many lines and bytes as it has here, and the same ones.

    Of ``/usr`` and not of ``/``: the root has the temporary files of this very test, which change while it runs.
    """
    find = require_tool("find")
    environment = own_environment(tmp_path, LANG="C.UTF-8", TZ="UTC")
    words = ["/usr", "-xdev", "-ls"]
    local = digest_of([find, *words], environment)
    assert local[2] > 1000
    assert digest_of(server.client(f"TZ=UTC {find} {' '.join(words)}"), environment) == local


def test_random_bytes_both_ways(server: RunningServer, tmp_path: Path) -> None:
    """H-12: 64 MiB of random bytes, from a file through ``cat`` into a file, are the same afterwards."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(RANDOM_BYTES))
    with source.open("rb") as stdin, target.open("wb") as stdout:
        done = subprocess.run(
            server.client("cat"), stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=server.environment
        )
    assert (done.returncode, done.stderr) == (0, b"")
    with source.open("rb") as sent, target.open("rb") as received:
        assert digest(sent) == digest(received)
    target.unlink()
    source.unlink()


def test_c_extension_is_built(server: RunningServer, tmp_path: Path) -> None:
    """A source distribution goes in by stdin and is compiled there; the compiler's warning comes out on stderr."""
    require_tool("cc")
    require(find_spec("setuptools"), "setuptools is not installed")
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    require(os.path.exists(header), "the header files of Python are not installed")
    project, there = tmp_path / "answering", tmp_path / "there"
    for folder in (project, there):
        folder.mkdir()
    (project / "answering.c").write_text(EXTENSION)
    (project / "setup.py").write_text(SETUP)
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "sdist", "--formats=gztar"],
        check=True,
        capture_output=True,
        cwd=project,
        env=own_environment(tmp_path),
    )
    (archive,) = (project / "dist").glob("*.tar.gz")
    built = server.run(
        f"cd '{there}' && tar xzf - && cd answering-1.0 && '{sys.executable}' setup.py build_ext --inplace",
        stdin=archive.read_bytes(),
    )
    assert built.returncode == 0, built.stderr.decode()
    assert b"never_used" in built.stderr
    assert b"-Wunused-variable" in built.stderr
    assert b"running build_ext" in built.stdout
    answer = server.run(
        f"cd '{there}/answering-1.0' && '{sys.executable}' -c 'import answering as a; print(a.answer())'"
    )
    assert (answer.stdout, answer.stderr) == (b"42\n", b"")
