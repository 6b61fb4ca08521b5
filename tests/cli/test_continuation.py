"""Whether a text goes on with the next line: what the client tells by itself, and what the shells say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.tools import require_tool
from twisted_rsh import cli
from twisted_rsh.cli.continuation import is_plainly_whole

SCRIPT = Path(cli.__file__).parent / "scripts" / "complete_text.sh"

WHOLE = [
    "echo a",
    "echo 'a b' \"c d\" $x",
    "make && ./x || echo no; ls | wc -l > out 2>&1 &",
    "for x in 1; do echo; done",
    "if true; then echo a; fi",
    "cat <<E\na\nE",
    "# comment \\",
    "echo a \\\\",
    "f() { echo; }",
    "echo )",
    "do",
    "}",
    "case x in x) echo;; esac",
    'echo "a" # "',
    "echo \\\n b",
    "{ echo; }",
]
UNFINISHED = [
    'echo "a',
    "echo 'a",
    "for x in 1 2",
    "for x in 1 2; do",
    "if true",
    "while :",
    "cat <<E",
    "cat <<'E'\nit's",
    "echo a \\",
    "\\",
    "true &&",
    "true |",
    "f() {",
    "(echo",
    "echo $(ls",
    "echo `ls",
    "echo ${a",
    "case x in",
    "echo $((1+",
]


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh"])
@pytest.mark.parametrize(("texts", "status"), [(WHOLE, 0), (UNFINISHED, 10)], ids=["whole", "unfinished"])
def test_shells_tell(shell: str, texts: list[str], status: int) -> None:
    """The shell is asked without running anything; a text that is wrong is whole."""
    environment = os.environ | {"SHELL": require_tool(shell)}
    told = {
        text: subprocess.run(["/bin/sh", SCRIPT], input=text.encode(), env=environment, check=False).returncode
        for text in texts
    }
    assert told == dict.fromkeys(texts, status)


def test_nothing_is_run(tmp_path: Path) -> None:
    """A text is not run by the question, whatever it says."""
    for shell in ("bash", "dash", "zsh"):
        for text in (
            f"touch {tmp_path}/x",
            f"$(touch {tmp_path}/x)",
            f"echo; }}; touch {tmp_path}/x; {{",
            f"set +n\ntouch {tmp_path}/x",
        ):
            environment = os.environ | {"SHELL": require_tool(shell)}
            subprocess.run(["/bin/sh", SCRIPT], input=text.encode(), env=environment, check=False)
    assert list(tmp_path.iterdir()) == []


def test_plain_words_need_no_question() -> None:
    """Words and commands of words are whole; whatever a shell could want the end of is not told here."""
    assert all(
        is_plainly_whole(text)
        for text in (
            "",
            "  ",
            "ls",
            *WHOLE[:3],
            "x=3",
            "cat < in > out",
            "ls 2>&1 | less",
            " exit ",
            ":help",
            "sleep 5 &",
        )
    )
    assert not any(is_plainly_whole(text) for text in UNFINISHED)
    assert not any(
        is_plainly_whole(text) for text in ("a\nb", "[[ a", "time ls", "echo >", "a &&& b", "cat <<<a", "(a)")
    )


def test_a_long_line_is_looked_at_quickly() -> None:
    """A line is read once, whatever is in it."""
    assert not is_plainly_whole("a" * 100_000 + "'")
