"""What our persistent shell makes of a sequence, in one piece or command by command."""

from __future__ import annotations

import tempfile
from pathlib import Path

from twisted.internet.defer import TimeoutError as DeferTimeout
from twisted.internet.defer import ensureDeferred

from tests.execution.fidelity.outcomes import Mode, Outcome, comparable
from tests.execution.fidelity.plain import ENVIRONMENT
from tests.execution.fidelity.sequences import Sequence
from tests.execution.owners import reactor
from tests.execution.real_shells import ShellRig
from twisted_rsh.core.endings import Ending, Exited, Signalled
from twisted_rsh.interfaces import JobRefused

__all__ = ["our_outcome"]

SECONDS = 10.0
"""Seconds that one command may take on a busy machine; most take some milliseconds."""


async def our_outcome(shell: str, sequence: Sequence, mode: Mode) -> Outcome:
    """Run a sequence in a persistent shell of its own, then leave the shell.

    :param shell: the name of the shell.
    :param sequence: the sequence.
    :param mode: how the shell is given it.
    :returns: what came of it, as :func:`comparable` returns it.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "home")
        folder.mkdir()
        rig = ShellRig(folder, shell, mode.on_terminal, Path(place), **ENVIRONMENT)
        parts = (
            zip(sequence.commands, sequence.inputs, strict=True) if mode.is_split else [(sequence.text, sequence.input)]
        )
        output, error = bytearray(), bytearray()
        trouble = ""
        await rig.ready()
        for text, data in parts:
            try:
                owner = await ensureDeferred(rig.run(text, data.encode())).addTimeout(SECONDS, reactor)
            except DeferTimeout:
                trouble = f"{text!r} did not end"
                break
            except JobRefused as e:
                trouble = repr(e)
                break
            output += owner.stdout
            error += owner.stderr
            if rig.owner.endings:
                break
            if not isinstance(owner.ending, Exited):
                trouble = repr(owner.ending)
        await _leave(rig)
        output += rig.owner.stdout
        error += rig.owner.stderr
        status = trouble or _status(rig.owner.ending)
        outcome = Outcome(status, _text(output), _text(error))
        return comparable(outcome, str(folder), mode.on_terminal)


async def _leave(rig: ShellRig) -> None:
    """Let the shell exit as it does at the end of its input; end one that does not."""
    if rig.owner.endings:
        return
    rig.shell.end_input()
    force = reactor.callLater(SECONDS, rig.shell.terminate)
    await rig.ended()
    if force.active():
        force.cancel()


def _status(ending: Ending) -> int | str:
    if isinstance(ending, Exited):
        return ending.code
    return f"signal {ending.signal}" if isinstance(ending, Signalled) else repr(ending)


def _text(data: bytearray) -> str:
    return bytes(data).decode("utf-8", "backslashreplace")
