"""How texts of several lines are joined into one event of zsh, and which are not."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools import require_tool
from twisted_rsh.execution.shells.zsh_events import MAX_DEPTH, MAX_JOINED_BYTES, as_one_event

SAME = (
    "echo a",
    "for i in 1 2\ndo\n echo $i\ndone",
    "cat <<E\na b\nE",
    "cat <<-'E' <<F\n\ta\n\tE\nb\nF",
    "echo 'a\nb' \"x\n$(echo\n a)\"",
    "if true; then\n a\nelse\n b\nfi",
    "a &&\nb",
    "x=(1\n2)",
    "{\n a\n} always {\n b\n}",
    "function f {\n a\n}",
    "f()\n{\n a\n}",
    "a \\\n b",
    "[[ a == b &&\n c == d ]]",
    "(\ncd /\n)",
    "case x in\na) echo;;\n(b) echo 1;;\nesac",
    "while read x; do\n echo ${x#*}; done <<'E'\n}}\nE",
)
"""Texts that are one event as they are."""

JOINED = {
    "echo a\necho b": "echo a;\\\necho b",
    "a &\nwait;\ntrue": "a &\\\nwait;\\\ntrue",
    "# a\nb": "\\\nb",
    "echo a # c\n\n  # d\necho b": "echo a ;\\\n\\\n\\\necho b",
    "if x; then\n a # c\nfi\n# c\n": "if x; then\n a # c\nfi",
    "f()\n{\n a\n}\nf": "f()\n{\n a\n};\\\nf",
    "x=()\ny=1": "x=();\\\ny=1",
    "a 2>&1 >f\nb": "a 2>&1 >f;\\\nb",
    "diff <(a\nb) x\nc": "diff <(a\nb) x;\\\nc",
    "x=$(cat <<E\na)b\nE\n)\necho": "x=$(cat <<E\na)b\nE\n);\\\necho",
    "for ((i=0;i<3;i++)); do\n a; done\nb": "for ((i=0;i<3;i++)); do\n a; done;\\\nb",
    "a | b\n! c": "a | b;\\\n! c",
}
"""Texts of several events, and what is typed."""

NOT_JOINED = (
    *("cat <<E\na b\nE\necho", "a\n)", "a\nfi", "a\n;;", "a >\nb", "a\necho 'x", "a\n&& b", "a\n}", "a\nthen", "a\n$("),
    *(
        "alias a=b\na",
        "setopt x\na",
        ". f\na",
        "set -k\na",
        "repeat 2\na",
        "if a { b\n}",
        "cat <<E\na",
        "for i in a\nb",
    ),
)
"""Texts that have to be run as a file."""


@pytest.mark.parametrize("text", SAME)
def test_one_event(text: str) -> None:
    """A text of one event is typed as it is."""
    assert as_one_event(text.encode()) == text.encode()


@pytest.mark.parametrize(("text", "typed"), JOINED.items())
def test_joined(text: str, typed: str) -> None:
    """Events are joined by a semicolon and a backslash before the newline, so that each line keeps its number."""
    assert as_one_event(text.encode()) == typed.encode()
    for one in (text, typed):
        checked = subprocess.run([require_tool("zsh"), "-f", "-n", "-c", one], capture_output=True, timeout=30)
        assert checked.stderr == b""


@pytest.mark.parametrize("text", NOT_JOINED)
def test_not_joined(text: str) -> None:
    """A text that may not be whole, or changes how zsh parses, is not joined."""
    assert as_one_event(text.encode()) is None


@settings(max_examples=500, deadline=None, database=None)
@given(st.lists(st.sampled_from("a;&|()<>{}[]'\"`$\\#= \n"), max_size=40).map("".join))
def test_any_text(text: str) -> None:
    """Any text is taken, and what is typed has no more lines than the text."""
    typed = as_one_event(text.encode())
    assert typed is None or typed.count(b"\n") <= text.count("\n")


def test_bounds() -> None:
    """A text is joined up to its bound, and followed up to its depth: both bound the time that the scanner takes."""
    longest = b"echo a\n".rjust(MAX_JOINED_BYTES, b"a")
    assert as_one_event(longest) is not None
    assert as_one_event(b"a" + longest) is None
    for opening, closing in ((b"$(", b")"), (b"${a:-", b"}"), (b'"$(', b')"')):
        levels = MAX_DEPTH // opening.count(b'"') // 2 if b'"' in opening else MAX_DEPTH
        assert as_one_event(b"a " + opening * levels + b"b" + closing * levels + b"\n") is not None
        assert as_one_event(b"a " + opening * 1000 + b"b" + closing * 1000 + b"\n") is None
        assert as_one_event(b"a " + opening * (levels + 1) + b"b" + closing * (levels + 1) + b"\n") is None
