"""Completion of what is typed at the prompt, as the shell on the server would complete it."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from twisted_rsh.cli.outputs import LocalOutputs
from twisted_rsh.client.job import Job
from twisted_rsh.client.shell import Shell
from twisted_rsh.client.status import printable
from twisted_rsh.client.text import decode_text
from twisted_rsh.core.errors import Error

__all__ = ["COMPLETION_SECONDS", "MAX_CANDIDATES", "Completer", "Completions", "common_start", "in_columns"]

COMPLETION_SECONDS = 0.3
"""Seconds that a completion may take: a person who waits for longer has typed on."""

MAX_CANDIDATES = 1000
"""Candidates of an answer, as the scripts bound them."""

MAX_ANSWER_BYTES = 1024 * 1024
"""Bytes of an answer: as many candidates, each of a thousand characters."""

_MAX_LINE = 4096
"""Characters of the line that are sent: a longer one is pasted, and not completed."""

_SCRIPTS = Path(__file__).parent / "scripts"

_KINDS = {"bash": "complete.bash", "zsh": "complete.zsh", "": "complete.sh"}
"""The script for each kind of shell."""

_CANDIDATES = re.compile(r"(?P<texts>(?:.*\n)?)(?P<end>[.+-])\n", re.DOTALL)
"""The candidates, and the last line: a hyphen if no space follows the only one, a plus sign if there are more."""

_ASK_KIND = 'printf "%s\\n" "${BASH_VERSION:+bash}${ZSH_VERSION:+zsh}"'


@dataclass(frozen=True, slots=True)
class Completions:
    """What may stand for the end of a line.

    :ivar replaced: characters before the cursor that each of `texts` replaces.
    :ivar texts: at least one.
    :ivar is_open: whether the only one is to be typed on, such as a user's name before a ``@``: no space follows.
    :ivar has_more: whether there are more, which have the common start of `texts` as well.
    """

    replaced: int
    texts: tuple[str, ...]
    is_open: bool = False
    has_more: bool = False


class Completer:
    """Asks the shell itself, by a command that changes nothing in it: it knows its functions, folder and completions.

    :param clock: bounds the time.
    :param shell: the shell, which is at its prompt whenever this object is asked.
    :param outputs: gets what a process in the background writes meanwhile.
    """

    def __init__(self, clock: IReactorTime, shell: Shell, outputs: LocalOutputs) -> None:
        self._clock = clock
        self._shell = shell
        self._outputs = outputs
        self._script: str | None = None
        self._job: Job | None = None

    async def complete(self, line: str) -> Completions | None:
        """Complete the end of a line.

        :param line: all that stands before the cursor.
        :returns: the completions; ``None`` where there are none, or the shell did not tell in time.
        """
        await self.stop()
        if len(line) > _MAX_LINE:
            return None
        until = self._clock.seconds() + COMPLETION_SECONDS
        if self._script is None:
            kind = await self._ask(_ASK_KIND, until)
            if kind is None or kind.strip() not in _KINDS:
                return None
            self._script = (_SCRIPTS / _KINDS[kind.strip()]).read_text("utf-8")
        mark = f"trsh-{secrets.token_hex(8)}"
        answer = await self._ask(f"set -- {_quoted(line)} {mark}\n{self._script}", until)
        return None if answer is None else _parse(answer, mark, line)

    async def stop(self) -> None:
        """End what is still asked; afterwards the shell takes a command."""
        job = self._job
        if job is not None:
            await job.close()

    async def _ask(self, text: str, until: float) -> str | None:
        """Run a text aside, and return what it wrote, if that is all of it."""
        try:
            job = self._job = self._shell.start(text, aside=True, max_output=MAX_ANSWER_BYTES)
        except Error:
            return None
        pieces: list[bytes] = []

        def keep(data: bytes) -> None:
            pieces.append(data)
            job.stdout.consumed(len(data))

        job.stdout.forward(keep)
        job.stderr.forward(lambda data: job.stderr.consumed(len(data)))
        ending = job.wait()
        timer = self._clock.callLater(max(until - self._clock.seconds(), 0), job.close)
        await ending
        if self._job is job:
            self._job = None
        if not timer.active():
            return None
        timer.cancel()
        return decode_text(b"".join(pieces), self._shell.encoding).replace("\r\n", "\n")


def _quoted(line: str) -> str:
    return "'" + line.replace("'", "'\\''") + "'"


def _parse(answer: str, mark: str, line: str) -> Completions | None:
    """Read what a script has written about a line; other output may stand before and after it."""
    _, found, rest = answer.partition(f"{mark}\n")
    word, _, rest = rest.partition("\n")
    whole = _CANDIDATES.match(rest)
    if not (found and whole and line.endswith(word)):
        return None
    has_more = whole["end"] == "+"
    texts = (text for text in whole["texts"].split("\n")[:-1] if text == printable(text) and (text or has_more))
    listed = tuple(dict.fromkeys(texts))
    return Completions(len(word), listed, whole["end"] == "-", has_more) if listed else None


def common_start(texts: tuple[str, ...]) -> str:
    """Return what all of some texts begin with."""
    first, last = min(texts), max(texts)
    size = next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[:size]


def in_columns(texts: tuple[str, ...], width: int) -> list[str]:
    """Arrange texts in columns, each read downwards.

    :param texts: the texts, at least one; of a path only its last part is shown.
    :param width: characters of a line.
    :returns: the lines.
    """
    from prompt_toolkit.utils import get_cwidth  # a wide character takes two columns

    names = [text.rstrip("/").rpartition("/")[2] + "/" * text.endswith("/") for text in texts]
    cell = max(map(get_cwidth, names)) + 2
    columns = max(width // cell, 1)
    rows = -(-len(names) // columns)
    return [
        "".join(name + " " * (cell - get_cwidth(name)) for name in names[row::rows]).rstrip() for row in range(rows)
    ]
