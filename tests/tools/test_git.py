"""git over ``trsh``: clone and push, a port, protocol version 2, a submodule, and what goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box

pytestmark = pytest.mark.real

IDENTITY = {"GIT_CONFIG_COUNT": "3", "GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "A"}
IDENTITY |= {"GIT_CONFIG_KEY_1": "user.email", "GIT_CONFIG_VALUE_1": "a@example.org"}
IDENTITY |= {"GIT_CONFIG_KEY_2": "init.defaultBranch", "GIT_CONFIG_VALUE_2": "main"}


@pytest.fixture
def git(box: Box) -> Box:
    """The server, with an environment in which git calls ``trsh``."""
    require_tool("git")
    box.environment |= IDENTITY | {"GIT_SSH": box.trsh}
    return box


def make(git: Box, folder: Path, *options: str) -> Path:
    """Make a repository with one commit; return it."""
    git.run("git", "init", "-q", *options, folder)
    if not options:
        (folder / "odd name \u4e2d").write_text("content\n")
        git.run("git", "add", "-A", cwd=folder)
        git.run("git", "commit", "-qm", "first", cwd=folder)
    return folder


def test_clone_and_push(git: Box, tmp_path: Path) -> None:
    """A clone has the files, speaks version 2, and pushes to a bare repository; the port stands in the address."""
    origin, work, bare = make(git, tmp_path / "origin"), tmp_path / "work", make(git, tmp_path / "bare", "--bare")
    trace = git.run("git", "clone", f"ssh://box:{git.port}{origin}", work, env={"GIT_TRACE_PACKET": "1"}).stderr
    assert "< version 2" in trace
    assert (work / "odd name \u4e2d").read_text() == "content\n"
    (work / "large").write_bytes(bytes(range(256)) * 20_000)
    git.run("git", "add", "-A", cwd=work)
    git.run("git", "commit", "-qm", "second", cwd=work)
    git.run("git", "push", "-q", f"box:{bare}", "HEAD:main", cwd=work)
    head = git.run("git", "rev-parse", "HEAD", cwd=work).stdout
    assert git.run("git", "rev-parse", "main", cwd=bare).stdout == head
    git.run("git", "fsck", "--strict", cwd=bare)
    assert git.run("git", "ls-remote", f"ssh://box{bare}", "main").stdout.split() == [head.strip(), "refs/heads/main"]


def test_submodule(git: Box, tmp_path: Path) -> None:
    """A clone with submodules gets both repositories."""
    inner, outer = make(git, tmp_path / "inner"), make(git, tmp_path / "outer")
    git.run("git", "submodule", "add", "-q", f"ssh://box{inner}", "sub", cwd=outer)
    git.run("git", "commit", "-qm", "sub", cwd=outer)
    git.run("git", "clone", "-q", "--recurse-submodules", f"ssh://box{outer}", tmp_path / "work")
    assert (tmp_path / "work" / "sub" / "odd name \u4e2d").exists()


def test_probe(git: Box, tmp_path: Path) -> None:
    """git asks ``trsh -G`` whether it takes ssh's options, with all descriptors on /dev/null, and so finds a port."""
    origin = make(git, tmp_path / "origin")
    for descriptors in ("</dev/null >/dev/null 2>&1", "<&- >&- 2>&-"):
        git.run("sh", "-c", f"trsh -G -o SendEnv=GIT_PROTOCOL -p {git.port} box {descriptors}")
    trace = git.run("git", "ls-remote", f"ssh://box:{git.port}{origin}", env={"GIT_TRACE": "1"}).stderr
    commands = [line for line in trace.splitlines() if git.trsh in line]
    assert any(f"{git.trsh} -G" in line.replace("'", "") for line in commands), trace
    assert any(f"-p {git.port}" in line for line in commands), trace


def test_errors(git: Box, tmp_path: Path) -> None:
    """A repository that is not there, and a server that is not, are git's own errors with our line beside them."""
    done = git.run("git", "clone", f"ssh://box{tmp_path}/nothing", tmp_path / "x", status=128)
    assert "does not appear to be a git repository" in done.stderr
    done = git.run("git", "clone", f"ssh://closed{tmp_path}/nothing", tmp_path / "x", status=128)
    assert "trsh: no server of yours is known on port 1" in done.stderr
    done = git.run("git", "ls-remote", "ssh://-oProxyCommand=x/y", status=128)
    assert "strange hostname" in done.stderr


def test_interrupted_push(git: Box, tmp_path: Path) -> None:
    """Ctrl-C in a push ends what runs on the server, and the repository there is as it was."""
    origin, bare, fifo = make(git, tmp_path / "origin"), make(git, tmp_path / "bare", "--bare"), tmp_path / "fifo"
    hook = bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho $$ > {fifo}\nexec sleep 600\n")
    hook.chmod(0o755)
    assert git.interrupt(fifo, "git", "push", f"ssh://box{bare}", "HEAD:main", cwd=origin) != 0
    assert git.run("git", "for-each-ref", cwd=bare).stdout == ""
    git.run("git", "fsck", "--strict", cwd=bare)


def test_large_files_probe(git: Box, tmp_path: Path) -> None:
    """git-lfs finds the server's answer to its own question, and not an unknown option."""
    require_tool("git-lfs")
    work = make(git, tmp_path / "work")
    git.run("git", "remote", "add", "origin", f"ssh://box{tmp_path}/bare", cwd=work)
    make(git, tmp_path / "bare", "--bare")
    git.run("git", "lfs", "install", "--local", cwd=work)
    done = git.run("git", "lfs", "push", "--all", "origin", cwd=work, env={"GIT_TRACE": "1"})
    assert "no such option" not in done.stderr
    assert "trsh" in done.stderr
