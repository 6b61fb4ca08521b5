"""The recipes of docs/recipes.rst, typed in as they stand, with real data moved and checked."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pages import commands_of, files_of, run_commands, sections_of
from tests.system.running import require
from tests.tools import require_tool
from tests.tools.box import Box, running_box

pytestmark = pytest.mark.real

PAGE = "docs/recipes.rst"

IDENTITY = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A"), ("EMAIL", "a@example.org"))
}


@pytest.fixture(scope="module")
def clean_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A server, with an environment that no test of another tool has changed."""
    folder = tmp_path_factory.mktemp("recipes")
    folder.chmod(0o700)
    with running_box(folder) as box:
        yield box


@dataclass(frozen=True, slots=True)
class World:
    """What a reader of a recipe has.

    :ivar here: the folder in which the commands are typed.
    :ivar home: the reader's home folder.
    :ivar there: the folder that stands for ``/srv`` on the server.
    :ivar box: the server.
    :ivar environment: of the commands.
    """

    here: Path
    home: Path
    there: Path
    box: Box
    environment: dict[str, str]

    def same(self, one: Path, other: Path) -> None:
        """Check that a tree has arrived: names and contents."""
        assert tree(one) == tree(other)
        assert tree(one)


def tree(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder, but those of version control."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not {".git", ".hg"} & set(path.parts)
    }


@pytest.fixture
def world(clean_box: Box, tmp_path: Path) -> World:
    """A home, a folder with files in it, a folder on the server, and another name for the client."""
    here, home, there, names = (tmp_path / name for name in ("here", "home", "srv", "home/trsh-as-ssh"))
    for folder in (here / "project" / "src", here / "copy", there, names):
        folder.mkdir(parents=True)
    (here / "project" / "README").write_text("read me\n")
    (here / "project" / "src" / "odd 'name' \u4e2d").write_bytes(os.urandom(300_000))
    (here / "notes.txt").write_text("one\ntwo\n")
    (here / "password").write_text("secret\n")
    (names / "ssh").symlink_to(clean_box.trsh)
    # The usual folders, and not those of XDG variables: GNU parallel takes these away from its clients.
    for place in (".config", ".local/state"):
        (home / place).mkdir(parents=True)
        (home / place / "twisted-rsh").symlink_to(Path(clean_box.environment["XDG_CONFIG_HOME"]) / "twisted-rsh")
    environment = {name: value for name, value in clean_box.environment.items() if not name.startswith("XDG_")}
    environment |= IDENTITY
    environment |= {"HOME": str(home), "HGUSER": "a", "HGENCODING": "utf-8", "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    # Open MPI asks twice before it serves root, and looks for networks that a test's machine may lack.
    environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_btl": "self,tcp"}
    return World(here, home, there, clean_box, environment)


# What a section needs before its commands, and what must hold after them.


def needs(*tools: str) -> Callable[[World], None]:
    """Make a preparation that finds programs."""

    def find(world: World) -> None:
        for tool in tools:
            require_tool(tool)

    return find


def no_check(world: World) -> None:
    """Leave the check to the output that the page shows."""


def forget_names(world: World) -> None:
    """Let the reader make the folder of the other name."""
    (world.home / "trsh-as-ssh" / "ssh").unlink()


def check_rsync(world: World) -> None:
    """The tree has gone there and has come back."""
    world.same(world.here / "project", world.there / "project")
    world.same(world.here / "project", world.here / "copy")


def make_git(world: World) -> None:
    """Put a repository on the server."""
    require_tool("git")
    for words in (
        ("init", "-q"),
        ("add", "-A"),
        ("commit", "-qm", "first"),
        ("clone", "-q", "--bare", ".", str(world.there / "project.git")),
    ):
        world.box.run("git", *words, cwd=world.here / "project", env=world.environment)


def check_git(world: World) -> None:
    """The clone has the files, and its push is in the repository."""
    world.same(world.here / "project", world.here / "work")
    words = ("git", "rev-parse", "topic")
    assert world.box.run(*words, cwd=world.there / "project.git", env=world.environment).stdout


def make_hg(world: World) -> None:
    """Put a repository on the server."""
    require_tool("hg")
    project = world.here / "project"
    for words in (("init",), ("commit", "-qAm", "first"), ("clone", "-q", ".", str(world.there / "project.hg"))):
        world.box.run("hg", *words, cwd=project, env=world.environment)


def check_hg(world: World) -> None:
    """The clone has the files, and its tag is in the repository."""
    for name, data in tree(world.here / "project").items():
        assert (world.here / "work" / name).read_bytes() == data
    words = ("hg", "log", "-r", "tip", "-T", "{desc}")
    done = world.box.run(*words, cwd=world.there / "project.hg", env=world.environment)
    assert "Added tag reviewed" in done.stdout


def check_tar(world: World) -> None:
    """The tree has gone there and has come back, and each of the four has written its line."""
    world.same(world.here / "project", world.there / "project")
    world.same(world.here / "project", world.here / "copy" / "project")
    assert sorted((world.there / "numbers").read_text().split()) == ["1", "2", "3", "4"]


def make_parallel(world: World) -> None:
    """Say that the citation is known."""
    require_tool("parallel")
    require_tool("rsync")
    (world.home / ".parallel").mkdir()
    (world.home / ".parallel" / "will-cite").touch()


def check_parallel(world: World) -> None:
    """The sum has come back."""
    done = world.box.run("cksum", "notes.txt", cwd=world.here)
    assert (world.here / "notes.txt.sum").read_text() == done.stdout


def check_ansible(world: World) -> None:
    """The file has gone there and has come back."""
    for copy in (world.there / "notes.txt", world.here / "fetched.txt"):
        assert copy.read_bytes() == (world.here / "notes.txt").read_bytes()


def check_sftp(world: World) -> None:
    """The file has gone there and has come back."""
    for copy in (world.there / "notes.txt", world.here / "copy" / "notes.txt"):
        assert copy.read_bytes() == (world.here / "notes.txt").read_bytes()


def check_scp(world: World) -> None:
    """The tree has gone there, and files have come back, have gone between hosts, and have gone by the old protocol."""
    world.same(world.here / "project", world.there / "project")
    for copy in (world.here / "copy" / "README", world.there / "third"):
        assert copy.read_text() == "read me\n"
    assert (world.there / "notes.txt").read_text() == "one\ntwo\n"


def make_sshfs(world: World) -> None:
    """Look for FUSE."""
    require_tool("sshfs")
    require_tool("fusermount3")
    try:  # a container may have the file and not the device
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"this system has no FUSE: {error}")


def check_sshfs(world: World) -> None:
    """The file has gone there, and nothing is mounted any more."""
    assert (world.there / "notes.txt").read_text() == "one\ntwo\n"
    assert not os.path.ismount(world.here / "mounted")


def check_restic(world: World) -> None:
    """The backup has come back, from the server."""
    assert (world.there / "restic" / "config").exists()
    world.same(world.here / "project", world.here / "restored" / "project")


def check_borg(world: World) -> None:
    """The backup has come back, from the server."""
    assert (world.there / "borg" / "config").exists()
    world.same(world.here / "project", world.here / "copy" / "project")


def make_xdist(world: World) -> None:
    """Make a test that says where it ran."""
    require(importlib.util.find_spec("execnet"), "execnet is not installed")
    (world.here / "tests").mkdir()
    (world.here / "tests" / "test_one.py").write_text(
        f"import os\n\n\ndef test_one():\n    open({str(world.there / 'ran')!r}, 'w').write(os.getcwd())\n"
    )


def check_xdist(world: World) -> None:
    """The test ran on the server, in the folder that was given."""
    assert (world.there / "ran").read_text() == str(world.there)


def check_unison(world: World) -> None:
    """Both have the same files."""
    world.same(world.here / "project", world.there / "project")


def make_vim(world: World) -> None:
    """Put a file on the server, and a stand-in for the hands that type in Vim."""
    for tool in ("vim", "sftp"):
        require_tool(tool)
    (world.there / "notes.txt").write_text("one\ntwo\n")
    folder = world.here.parent / "bin"
    folder.mkdir()
    hands = folder / "vim"
    hands.write_text(
        f"#!/bin/sh\nexec {require_tool('vim')} -N -u ~/.vimrc -i NONE -n -es --cmd 'let g:netrw_silent = 1' "
        "--cmd 'runtime plugin/netrwPlugin.vim' \"$@\" -c '%s/two/three/' -c write -c 'qall!'\n"
    )
    hands.chmod(0o755)


def check_vim(world: World) -> None:
    """The file on the server has what was typed."""
    assert (world.there / "notes.txt").read_text() == "one\nthree\n"


RECIPES: dict[str, tuple[Callable[[World], None], Callable[[World], None]]] = {
    "Programs that run ``ssh`` only": (forget_names, no_check),
    "rsync": (needs("rsync"), check_rsync),
    "git": (make_git, check_git),
    "Mercurial": (make_hg, check_hg),
    "tar, loops and xargs": (no_check, check_tar),
    "GNU parallel": (make_parallel, check_parallel),
    "pdsh": (needs("pdsh"), no_check),
    "clush": (needs("clush"), no_check),
    "Ansible": (needs("ansible-playbook", "sftp"), check_ansible),
    "sftp": (needs("sftp"), check_sftp),
    "scp": (needs("scp"), check_scp),
    "sshfs": (make_sshfs, check_sshfs),
    "restic": (needs("restic"), check_restic),
    "borg": (needs("borg"), check_borg),
    "Open MPI": (needs("mpirun"), no_check),
    "execnet and pytest-xdist": (make_xdist, check_xdist),
    "unison": (needs("unison"), check_unison),
    "autossh": (needs("autossh"), no_check),
    "Vim": (make_vim, check_vim),
}
"""For each recipe, what comes before its commands, and what must hold after them."""


def test_each_recipe_is_run() -> None:
    """Each section with commands is among those that are run below, and no other is."""
    assert sections_of(PAGE) == list(RECIPES)


@pytest.mark.parametrize("title", RECIPES)
def test_recipe(world: World, title: str) -> None:
    """The commands of a recipe succeed as they stand, print what the page shows, and move real data."""
    prepare, check = RECIPES[title]
    prepare(world)
    for name, text in files_of(PAGE, title).items():
        path = world.home / name.removeprefix("~/") if name.startswith("~/") else world.here / name
        path.write_text(text.replace("/srv", str(world.there)).replace("python=python3", f"python={sys.executable}"))
    environment = world.environment | {"PATH": f"{world.here.parent}/bin:{world.environment['PATH']}"}
    # The interpreter of the tests is the one that has execnet and pytest, also on the server.
    stands_for = {"/srv": str(world.there), "python=python3": f"python={sys.executable}"}
    run_commands(commands_of(PAGE, title), world.here, environment, stands_for)
    check(world)
