"""Whether a text that was typed is a whole command, or goes on with the next line."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime

from twisted_rsh.client.connection import Connection
from twisted_rsh.core.endings import Exited
from twisted_rsh.core.errors import Error

__all__ = ["CHECK_SECONDS", "CompletenessCheck", "is_plainly_whole"]

CHECK_SECONDS = 2.0
"""Seconds that the server has to tell whether a text is whole; afterwards it counts as whole, and the shell says what
is wrong with it.  The answer takes a round trip and some milliseconds."""

_INCOMPLETE = 10
"""The status of the script for a text that goes on."""

_SCRIPT = Path(__file__).parent / "scripts" / "complete_text.sh"

_TOKEN = re.compile(
    r"""(?P<space>[ \t]+) | (?P<operator>&&|\|\||>>|[<>]&|[|;&<>])
    | (?P<word>(?:[\w./:,=@%+~^*?-]|'[^'\n]*'|"[^"\\`$\n]*"|\$\w)+)""",
    re.VERBOSE,
)
"""A piece of plain text: words, quoted ones included, and the signs between words and commands.  Nothing in it makes a
shell wait for an end."""

_RESERVED = frozenset(
    "if then else elif fi for foreach while until do done case esac select function repeat time coproc always "
    "nocorrect noglob".split()
)
"""Words after which a text may go on."""

_ENDINGS = frozenset({";", "&"})
"""The operators that may stand at the end of a text."""


def is_plainly_whole(text: str) -> bool:
    """Tell whether a text consists of plain words and commands, so that no shell has to be asked about it.

    :param text: what was typed.
    :returns: whether it is certainly whole; ``False`` where a shell has to tell.
    """
    at, is_wanted, begins = 0, False, True
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            return False
        at = token.end()
        if token.lastgroup == "operator":
            # Two operators in a row are wrong, or the beginning of a here-document.
            if begins or is_wanted:
                return False
            begins = token[0][0] not in "<>"
            is_wanted = token[0] not in _ENDINGS
        elif token.lastgroup == "word":
            if begins and token[0] in _RESERVED:
                return False
            begins = is_wanted = False
    return not is_wanted


class CompletenessCheck:
    """Asks the server, beside the shell of the console, so that the text runs nowhere.

    :param clock: bounds the time.
    :param connection: the connection.
    :param encoding: the code page of the shell's text.
    """

    def __init__(self, clock: IReactorTime, connection: Connection, encoding: str) -> None:
        self._clock = clock
        self._connection = connection
        self._encoding = encoding
        self._script: str | None = None

    async def is_whole(self, text: str) -> bool:
        """Tell whether a text is a whole command.

        :param text: what was typed, some lines.
        :returns: whether the shell would run it; also where the server does not tell within :data:`CHECK_SECONDS`.
        """
        if is_plainly_whole(text):
            return True
        if self._script is None:
            self._script = _SCRIPT.read_text("ascii")
        asking = self._connection.run(
            ("/bin/sh", "-c", self._script, "complete_text"),
            stdin=text.encode(self._encoding, "surrogateescape"),
            timeout=CHECK_SECONDS,
        )
        try:
            result = await asking.addTimeout(CHECK_SECONDS, self._clock)
        except (Error, defer.TimeoutError):
            return True
        return result.ending != Exited(_INCOMPLETE)
