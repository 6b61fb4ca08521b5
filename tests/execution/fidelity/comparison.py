"""Compares the plain shell with ours, several sequences at a time.

``python -m tests.execution.fidelity bash`` compares while one explores; see ``--help``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.threads import deferToThread

from tests.execution.fidelity import outcomes, plain
from tests.execution.fidelity.ours import our_outcome
from tests.execution.fidelity.outcomes import Mode, Outcome
from tests.execution.fidelity.plain import plain_outcome
from tests.execution.fidelity.sequences import Sequence

__all__ = ["AT_ONCE", "Comparison", "PlainCache", "compare"]

AT_ONCE = 6
"""Sequences that are under way at the same time: a shell waits more than it computes."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A sequence in one mode, as both shells took it.

    :ivar sequence: the sequence.
    :ivar mode: how ours was given it.
    :ivar plain: what the plain shell made of it.
    :ivar ours: what ours made of it.
    """

    sequence: Sequence
    mode: Mode
    plain: Outcome
    ours: Outcome

    @property
    def is_same(self) -> bool:
        """Whether output, standard error and status are the same."""
        return self.plain == self.ours

    def __str__(self) -> str:
        """Say what differs, over several lines."""
        lines = [f"{self.mode} {self.sequence.name}"]
        for name in ("status", "stdout", "stderr"):
            plain, ours = getattr(self.plain, name), getattr(self.ours, name)
            lines += (
                [f"   {name} {plain!r:.400}"]
                if plain == ours
                else [f"   {name} {plain!r:.400}", f"     ours {ours!r:.400}"]
            )
        return "\n".join(lines)


class PlainCache:
    """What the plain shell made of sequences, kept in a file from one run to the next.

    :param path: the file, which is made; ``None`` to keep nothing after this run.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        # What is normalised otherwise, or run otherwise, is another outcome.
        sources = b"".join(Path(module.__file__ or "").read_bytes() for module in (outcomes, plain))
        self._version = hashlib.sha256(sources).hexdigest()
        self._known: dict[str, Outcome] = {}
        if path is not None and path.exists():
            self._known = {key: Outcome(*value) for key, value in json.loads(path.read_text()).items()}

    async def outcome(self, shell: str, sequence: Sequence, on_terminal: bool) -> Outcome:
        """See :func:`plain_outcome`."""
        key = json.dumps([self._version, shell, on_terminal, sequence.text, sequence.input])
        if key not in self._known:
            self._known[key] = await deferToThread(plain_outcome, shell, sequence, on_terminal)
        return self._known[key]

    def save(self) -> None:
        """Write the file, if there is one."""
        if self._path is not None:
            entries = {key: [value.status, value.stdout, value.stderr] for key, value in self._known.items()}
            self._path.write_text(json.dumps(entries))


def is_meaningful(sequence: Sequence, mode: Mode) -> bool:
    """Return whether a mode adds anything: input needs pipes, and splitting needs two commands."""
    if mode.is_split and not (sequence.may_be_split and len(sequence.commands) > 1):
        return False
    return not (mode.on_terminal and sequence.input)


async def compare(
    shell: str,
    sequences: Iterable[Sequence],
    modes: Iterable[Mode],
    cache: PlainCache,
    tell: Callable[[Comparison], None],
) -> None:
    """Run sequences in the plain shell and in ours.

    :param shell: the name of the shell.
    :param sequences: the sequences.
    :param modes: the modes to try each in.
    :param cache: what the plain shell made of them before.
    :param tell: gets each comparison as soon as it is there.
    """
    waiting = iter([(one, mode) for one in sequences for mode in modes if is_meaningful(one, mode)])

    async def work() -> None:
        for sequence, mode in waiting:
            plain = await cache.outcome(shell, sequence, mode.on_terminal)
            tell(Comparison(sequence, mode, plain, await our_outcome(shell, sequence, mode)))

    workers: list[Deferred[None]] = [ensureDeferred(work()) for _ in range(AT_ONCE)]
    await gatherResults(workers, consumeErrors=True)
