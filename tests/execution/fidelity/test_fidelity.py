"""Persistent shells take sequences of commands as the plain shells do, in every mode, but for a short list."""

from __future__ import annotations

from collections.abc import Sequence as Several

import pytest

from tests.execution.fidelity.comparison import Comparison, PlainCache, compare, is_meaningful
from tests.execution.fidelity.differences import load_differences
from tests.execution.fidelity.outcomes import MODES, Mode, Outcome, comparable
from tests.execution.fidelity.plain import plain_outcome
from tests.execution.fidelity.sequences import Sequence, SequenceError, load_sequences, parse_sequences
from tests.execution.owners import asynchronous
from tests.execution.real_shells import SHELLS
from tests.tools import require_tool

MIN_SEQUENCES = 430
"""Sequences for each shell."""

MAX_DIFFERENCES = 0.01
"""The share of a shell's sequences that may differ in some mode, each with a reason."""

SAMPLE = 23
"""Of so many sequences, a quick run tries one, in two modes."""

PARTS = 8
"""The whole is tried in so many tests for each shell, which may run beside one another."""


async def differing(shell: str, sequences: Several[Sequence], modes: Several[Mode]) -> list[Comparison]:
    """Compare, and return what differs otherwise than the list says: what is not in it, and what it has in vain."""
    require_tool(shell)  # here: the comparison has threads, in which no test can be skipped
    allowed = load_differences()
    found: list[Comparison] = []

    def tell(comparison: Comparison) -> None:
        is_listed = (shell, comparison.sequence.name, str(comparison.mode)) in allowed
        if comparison.is_same == is_listed:
            found.append(comparison)

    await compare(shell, sequences, modes, PlainCache(), tell)
    return found


def described(comparisons: list[Comparison]) -> str:
    """Say in full what a test found."""
    return "\n" + "\n".join(f"{'listed, but the same: ' if one.is_same else ''}{one}" for one in comparisons)


@pytest.mark.parametrize("shell", SHELLS)
@asynchronous
async def test_sample(shell: str) -> None:
    """Some sequences of each topic, on pipes in one piece and on a terminal command by command."""
    sequences = load_sequences(shell)[::SAMPLE]
    found = await differing(shell, sequences, [MODES[0], MODES[-1]])
    assert not found, described(found)


@pytest.mark.exhaustive
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("shell", SHELLS)
@asynchronous
async def test_all(shell: str, part: int) -> None:
    """All sequences in all modes."""
    found = await differing(shell, load_sequences(shell)[part::PARTS], MODES)
    assert not found, described(found)


@pytest.mark.parametrize("shell", SHELLS)
def test_list_of_differences(shell: str) -> None:
    """The list names sequences that there are, in modes that they have, and only few of them."""
    sequences = {sequence.name: sequence for sequence in load_sequences(shell)}
    assert len(sequences) >= MIN_SEQUENCES
    listed = {(name, mode) for program, name, mode in load_differences() if program == shell}
    modes = {str(mode): mode for mode in MODES}
    assert all(is_meaningful(sequences[name], modes[mode]) for name, mode in listed)
    assert len({name for name, _ in listed}) <= MAX_DIFFERENCES * len(sequences)


def test_format() -> None:
    """A file has sequences under their headers, with commands, inputs and shells."""
    text = "a remark\n=== one | bash zsh\n< in\ncat\nsecond line\n---\necho\n=== two | dash | one\ntrue\n"
    one, two = parse_sequences("topic", text)
    assert one == Sequence("topic: one", ("bash", "zsh"), ("cat\nsecond line", "echo"), ("in\n", ""), True)
    assert two == Sequence("topic: two", ("dash",), ("true",), ("",), False)
    assert one.text == "cat\nsecond line\necho"
    assert one.input == "in\n"


@pytest.mark.parametrize(
    "text", ["=== a\ntrue", "=== a | \ntrue", "=== a | sh\n", "=== a | sh\n:\n=== a | sh\n:", "=== a | sh | two\n:"]
)
def test_faulty_format(text: str) -> None:
    """A header without shells, a name that comes twice, a sequence without a command are refused."""
    with pytest.raises(SequenceError, match="topic"):
        parse_sequences("topic", text)


def test_what_is_not_compared() -> None:
    """Names of shells and files before messages, numbers of processes and a terminal's line ends are left out."""
    plain = Outcome(
        0, "", "/tmp/x/script: line 3: cd: no: No such\nscript:cd:3: no such file: no\n script: 3: 12 Killed  a\n"
    )
    ours = Outcome(0, "", "bash: cd: no: No such\ncd: no such file: no\n script: 3: 12 Killed  a\n")
    assert comparable(plain, "/tmp/y", False) == comparable(ours, "/tmp/y", False)
    other = Outcome(0, "", "bash: line 1: cd: other: No such\n")
    assert comparable(plain, "/tmp/y", False) != comparable(other, "/tmp/y", False)
    assert comparable(Outcome(0, "[1] 12\r\n[1]+  Done   x\r\na\r\n", ""), "/", True) == Outcome(0, "a\n", "")
    assert comparable(Outcome(0, "[1] 12\n", ""), "/", False).stdout == "[1] 12\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_oracle(shell: str) -> None:
    """The plain shell runs a sequence as a script, on pipes and on a terminal that also controls it."""
    text = 'echo out; echo err >&2; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && : < /dev/tty && echo tty; cd "$HOME" && exit 3'
    script = Sequence("a", (shell,), (text,), ("",), True)
    assert plain_outcome(shell, script, False) == Outcome(3, "out\n", "err\n")
    assert plain_outcome(shell, script, True) == Outcome(3, "out\nerr\ntty\n", "")
    killed = Sequence("b", (shell,), ("kill -TERM $$",), ("",), True)
    assert plain_outcome(shell, killed, False).status == "signal TERM"


@asynchronous
async def test_difference_is_seen() -> None:
    """A shell that does something else than the plain one is found out."""
    number_of_process = Sequence("its number", ("dash",), ("echo $$",), ("",), True)
    found = await differing("dash", [number_of_process], MODES[:1])
    assert [one.mode for one in found] == [MODES[0]]
    assert "ours" in described(found)
