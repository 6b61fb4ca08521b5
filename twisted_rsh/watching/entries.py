"""The entries of the audit log: what is written of each event, in which form.

An entry is one line, a JSON object in ASCII.  Every text of others is cut to a bound and has no control characters.
``docs/audit.rst`` describes the members; :data:`SCHEMA_VERSION` counts its versions.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from twisted_rsh import Ending
from twisted_rsh.server import (
    JobBegan,
    JobFinished,
    JobRequest,
    Refusal,
    ServerEvent,
    ServerStarted,
    ServerStopped,
    SessionBegan,
    SessionDetached,
    SessionEnded,
    SessionInfo,
    SessionResumed,
)

__all__ = [
    "MAX_LINE_BYTES",
    "MAX_TEXT_CHARACTERS",
    "SCHEMA_VERSION",
    "TextForm",
    "entry_line",
    "event_entry",
    "utc",
]

SCHEMA_VERSION = 1
"""The member ``v`` of each entry.  Members and events may be added to a version."""

MAX_LINE_BYTES = 64 * 1024
"""Bytes of a line at most: the longest text, each of whose characters becomes twelve, and all that is around it."""

MAX_TEXT_CHARACTERS = 4096
"""Characters of a job's text: as many as the log has with ``--log-commands``."""

MAX_DETAIL_CHARACTERS = 256
"""Characters of a name or a reason."""

MAX_WORDS = 256
"""Words of a command line that is a list."""

_DIGITS = 3
_ENCODER = json.JSONEncoder(separators=(",", ":"))


class TextForm(enum.Enum):
    """What an entry has of the text of a job."""

    NONE = "none"
    """Its form alone: ``kind``."""

    HASH = "hash"
    """The SHA-256 of its bytes, so that a known text can be found again.  It hides no text that can be guessed."""

    FULL = "full"
    """The text, up to :data:`MAX_TEXT_CHARACTERS`."""


def event_entry(event: ServerEvent, form: TextForm) -> dict[str, Any] | None:
    """Return the members of an entry that tell of an event; ``None`` for an event that is not audited.

    :param event: the event.
    :param form: what to tell of the text of jobs.
    """
    match event:
        case ServerStarted(fingerprint=key, addresses=addresses):
            return {"event": "server-started", "key": key, "addresses": [_short(address) for address in addresses]}
        case ServerStopped():
            return {"event": "server-stopped"}
        case Refusal(kind=kind, peer=peer, detail=detail):
            return {"event": "refused", "reason": kind.value, "peer": _short(peer), "detail": _short(detail)}
        case JobBegan(request=request):
            return {
                **_of("job-began", event.session, event.peer),
                "job": event.channel,
                "kind": request.kind,
                "in_shell": request.in_shell,
                "terminal": request.terminal is not None,
                "limits": request.limits,
                **_text(request, form),
            }
        case JobFinished(end=end):
            return {
                **_of("job-ended", event.session, event.peer),
                "job": event.channel,
                "ending": _ending(end.ending),
                "pid": event.pid,
                "seconds": round(event.seconds, _DIGITS),
                "stdin": event.stdin,
                "stdout": event.stdout,
                "stderr": event.stderr,
            }
        case _:
            return _session_entry(event)


def _session_entry(event: ServerEvent) -> dict[str, Any] | None:
    match event:
        case SessionBegan(session=session, peer=peer):
            return _of("session-began", session, peer)
        case SessionDetached(session=session, peer=peer, reason=reason, jobs=jobs):
            return {**_of("session-detached", session, peer), "reason": _short(reason), "jobs": jobs}
        case SessionResumed(session=session, peer=peer, away=away):
            return {**_of("session-resumed", session, peer), "away": None if away is None else round(away, _DIGITS)}
        case SessionEnded(session=session, peer=peer, reason=reason):
            return {
                **_of("session-ended", session, peer),
                "reason": _short(reason),
                "seconds": round(event.seconds, _DIGITS),
                "detached": event.was_detached,
                "stdin": event.stdin,
                "stdout": event.stdout,
                "stderr": event.stderr,
            }
        case _:
            return None


def entry_line(entry: dict[str, Any]) -> bytes:
    """Return an entry as a line, with its line feed.

    :param entry: its members, whose texts have bounds.
    """
    return _ENCODER.encode(entry).encode("ascii") + b"\n"


def utc(seconds: float) -> str:
    """Return a time of the wall clock as RFC 3339 has it, in UTC and microseconds.

    :param seconds: since 1970.
    """
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _of(event: str, session: SessionInfo, peer: str) -> dict[str, Any]:
    return {
        "event": event,
        "session": session.id,
        "user": _short(session.user),
        "key": _short(session.key),
        "peer": _short(peer),
    }


def _ending(ending: Ending) -> dict[str, Any]:
    """Return an ending as an object: its kind, and its members."""
    members: dict[str, Any] = {"kind": ending.kind}
    for field in dataclasses.fields(ending):
        value = getattr(ending, field.name)
        members[field.name] = value.value if isinstance(value, enum.Enum) else value
        if isinstance(value, str):
            members[field.name] = _short(value)
    return members


def _text(request: JobRequest, form: TextForm) -> dict[str, Any]:
    if form is TextForm.NONE:
        return {}
    shown = request.text
    text = shown if isinstance(shown, str) else "\0".join(shown)
    if form is TextForm.HASH:
        return {"sha256": hashlib.sha256(_bytes_of(text)).hexdigest()}
    is_cut = len(text) > MAX_TEXT_CHARACTERS
    if isinstance(shown, str):
        return {"text": _short(shown, MAX_TEXT_CHARACTERS), "cut": is_cut}
    return {"text": _short_words(shown), "cut": is_cut or len(shown) > MAX_WORDS}


def _bytes_of(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")  # the client's own bytes
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _short_words(words: Sequence[str]) -> list[str]:
    left = MAX_TEXT_CHARACTERS
    shown = []
    for word in words[:MAX_WORDS]:
        shown.append(_short(word, left))
        left -= len(shown[-1])
        if left <= 0:
            break
    return shown


def _short(text: str, longest: int = MAX_DETAIL_CHARACTERS) -> str:
    text = text[:longest]
    if text.isascii():
        return text
    # Half a character, which stands for a byte that is no text, is no JSON that every reader takes.
    return text.encode("utf-8", "backslashreplace").decode()[:longest]
