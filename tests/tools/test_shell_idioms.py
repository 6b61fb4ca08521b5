"""``trsh`` where a script has ``ssh``: pipes of tar, loops that read, many at once, descriptors that are not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.server_process import needs_full, wait_until_gone
from tests.tools.box import Box

pytestmark = pytest.mark.real


def sh(box: Box, script: str, **options: int | None) -> str:
    """Run a script; return what it writes to stdout."""
    return box.run("sh", "-c", script, **options).stdout


def test_tar_pipe(box: Box, tmp_path: Path) -> None:
    """A tree goes through a pipe, there and back."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(os.urandom(4_000_000))
    sh(box, f"cd {tmp_path} && tar cf - tree | trsh box 'mkdir {tmp_path}/there && tar xf - -C {tmp_path}/there'")
    sh(box, f"mkdir {tmp_path}/back && trsh box 'tar czf - -C {tmp_path}/there tree' | tar xzf - -C {tmp_path}/back")
    assert (tmp_path / "back" / "tree" / "file").read_bytes() == (tmp_path / "tree" / "file").read_bytes()


def test_interrupted_pipe(box: Box, tmp_path: Path) -> None:
    """Ctrl-C in a pipe of tar ends what runs on the server; so does the end of the program that reads."""
    one, two = tmp_path / "one", tmp_path / "two"
    archive = "trsh box 'echo $$ > {}; exec tar cf - -C / proc usr 2>/dev/null'"
    box.interrupt(one, "sh", "-c", f"{archive.format(one)} | {{ cat > /dev/null; sleep 600; }}")
    os.mkfifo(two)
    reader = f"{{ read -r pid < {two}; head -c 100000 > /dev/null; echo $pid; }}"
    wait_until_gone(int(sh(box, f"{archive.format(two)} | {reader}")))


def test_loops(box: Box) -> None:
    """``-n`` leaves a loop its input; ``xargs -P`` runs clients beside each other; ``ssh -T`` idioms hold."""
    script = "printf '%s\\n' box1 box2 box | while read host; do trsh -n $host echo %n from $host; done"
    assert sh(box, script) == "%n from box1\n%n from box2\n%n from box\n"
    assert sorted(sh(box, "seq 4 | xargs -P 4 -I{} trsh -n box echo {}").split()) == ["1", "2", "3", "4"]
    assert sh(box, "trsh -Tqn box 'exit 3' || echo $?; trsh box true && echo fine") == "3\nfine\n"


@needs_full
def test_descriptors(box: Box) -> None:
    """Closed descriptors, an empty input, a full disk, and a reader that leaves."""
    assert sh(box, "trsh box cat < /dev/null; trsh box 'cat; echo end' <&-") == "end\n"
    assert sh(box, "trsh box 'echo lost' >&-; echo $?") == "0\n"
    assert sh(box, "trsh box 'echo full' 2>/dev/null >/dev/full; echo $?") == "255\n"
    assert sh(box, "trsh box 'yes | head -c 3000000' | head -n 1") == "y\n"
    assert sh(box, "setsid trsh box echo detached") == "detached\n"
