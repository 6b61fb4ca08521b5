"""What is certainly complete, what is not, and what a dash makes of the text and the line behind it."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.tools import require_tool
from twisted_rsh.execution.shells.completeness import complete_size

COMPLETE = (
    "",
    "# only",
    "true",
    "a;b",
    "exit 3;",
    "! true",
    "a && \n b",
    "a & b",
    "a &",
    "echo a \\\nb",
    "echo a # it's",
    "echo a#b'c'",
    'echo "a $(echo "b") c"',
    "echo `echo a` \"`echo 'b'`\"",
    "x=$((1+(2*3))) y=${x:-a b} z=${#x}",
    "echo ${x-'a'} \"${x%.*}\"",
    "echo $( (a) ) $(\n#c\necho)",
    "x='a\nb'",
    "if a\nthen b\nelif c\nthen d\nelse e\nfi",
    "for i in 1 2; do echo $i; done",
    "for i\ndo :; done",
    "while read a; do echo $a; done <f 2>&1 | cat",
    "until false; do break; done",
    "case $x in\n\n#c\na|b) echo;;\n(c) ;;\n*) d\nesac",
    "case a in esac",
    "f() { echo a; }; f",
    "f()\n(echo)",
    "{ a; b; } 2>&1 && (c; d)",
    "cat <<E\n$x $((1+1)) $(echo a) ${x} \"quoted'\nE",
    "cat <<'E' | wc\n$(x \nE\necho b",
    "cat <<-E\n\tabc\n\tE",
    "cat <<A; cat <<B\na\nA\nb\nB",
    "x=$(cat <<E\na\nE\n)",
    "i\\\nf true; then :; fi",
)
"""Texts behind which the next line is a new one."""

WRONG = (
    ")",
    "; ;",
    "fi",
    "echo )",
    "a | | b",
    "&& a",
    "if then",
    "for 1 in a; do :; done",
    "case a b in",
    "f( x )",
    "!",
)
"""Texts that a shell refuses at their place."""

UNFINISHED = (
    "echo 'abc",
    'echo "x\n}',
    "echo a\\",
    "echo \\\\\\",
    "\\",
    "true &&",
    "a ||\n",
    "true |",
    "f()",
    "{ echo a",
    "(",
    "if true; then",
    "for i in 1 2",
    "while :",
    "case x in a)",
    "cat <<E\nabc",
    "cat <<E\na\\\nE",
    "cat <<E\n$(\nE",
    "echo $(",
    "echo `a",
    'echo "${x',
    "echo $((1",
    "x=$(cat <<E\na\n)",
)
"""Texts for which a shell waits for more."""

DOUBTFUL = ('echo "${x:-"a"}"', "x=(1 2)", "1() { :; }", "{ a;" * 60 + "}" * 60)
"""Texts that are left to the shell itself."""


@pytest.mark.parametrize("text", COMPLETE + WRONG)
def test_complete(text: str) -> None:
    """A text is complete, or refused, and dash takes the line behind it for a new one."""
    assert complete_size(text.encode()) == len(text)
    script = f"set +n; {{ :; }} </dev/null\n{text}\n"
    done = subprocess.run([require_tool("dash"), "-n"], input=script.encode(), capture_output=True)
    assert (done.returncode == 0) is (text in COMPLETE)


@pytest.mark.parametrize("text", UNFINISHED + DOUBTFUL)
def test_not_complete(text: str) -> None:
    """No part of what is unfinished or in doubt counts as complete, but the lines before it do."""
    assert complete_size(text.encode()) == 0
    assert complete_size(f"echo a\n{text}".encode()) == len("echo a\n")


@pytest.mark.parametrize("piece", ["a ", "a;", "a\n", "$a$a", '"$a"', "1<a", "`", "$(", "(\n", "a <<E "])
def test_bounded_time(piece: str) -> None:
    """No text of 3 KB keeps the server busy: 20 ms are allowed, ten times as much on a busy machine."""
    text = (piece * 3072)[:3072].encode() + b"'"
    before = time.thread_time()
    complete_size.__wrapped__(text)
    assert time.thread_time() - before < 0.2
