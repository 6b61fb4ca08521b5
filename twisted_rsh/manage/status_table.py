"""The table of ``twisted-rsh status``: lines of printable ASCII, each of whose characters takes one column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted_rsh.server.session import SHOWN_ID_DIGITS

__all__ = ["SHOWN_KEY", "amount", "duration", "fit", "place", "safe", "table"]

SHOWN_KEY = 15
"""Characters of a key's fingerprint in a table: ``SHA256:`` and enough to tell keys apart."""

_HEAD = ("SESSION", "ACCOUNT", "KEY", "STATE", "SINCE", "LOGIN", "IN", "OUT", "ERR", "PEER")
_STEP = 1024


def table(status: dict[str, Any]) -> list[str]:
    """Return the lines that show the servers to people; they leave out those that do not answer.

    :param status: what :func:`twisted_rsh.manage.status.collect_status` returns.
    """
    if not status["servers"] and not status["problems"]:
        return ["no server of this account runs on this machine"]
    lines: list[str] = []
    for server in status["servers"]:
        lines += [""] if lines else []
        lines += [*_head(server), *_sessions(server["sessions"])]
    return lines


def fit(lines: list[str], columns: int, rows: int) -> list[str]:
    """Cut lines so that they fit on a terminal.

    :param lines: the lines.
    :param columns: characters of a line.
    :param rows: lines of the terminal; where there are more, the last one says how many are missing.
    """
    if len(lines) > rows:
        lines = [*lines[: rows - 1], f"... {len(lines) - rows + 1} more lines"]
    return [line[:columns] for line in lines]


def safe(text: object) -> str:
    """Return a text of others without control characters, wide characters and those that change the direction."""
    return "".join(char if " " <= char <= "~" else ascii(char)[1:-1] for char in str(text))


def place(port: int | None) -> str:
    """Return where a server listens; it has no port if it listens on a Unix socket alone."""
    return f"port {port}" if port else "Unix socket"


def duration(seconds: float) -> str:
    """Return seconds as hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def amount(size: int) -> str:
    """Return bytes as people read them: ``17``, ``1.5K``, ``12M``."""
    number = float(size)
    for unit in ("", "K", "M", "G", "T"):
        if number < _STEP:
            return f"{number:.0f}{unit}" if not unit or number >= 10 else f"{number:.1f}{unit}"
        number /= _STEP
    return f"{number:.0f}P"


def _head(server: dict[str, Any]) -> list[str]:
    waiting = server["waiting"]
    bounds = []
    for bound in server["bounds"]:
        show = amount if bound["unit"] == "bytes" else str
        bounds.append((safe(bound["option"]), show(bound["used"]), "of", show(bound["allowed"]), safe(bound["unit"])))
    sources = [f"{one['connections']} of {safe(one['source'])}" for one in waiting["sources"]]
    if waiting["sources_left_out"]:
        sources.append(f"and {waiting['sources_left_out']} more sources")
    count = waiting["connections"]
    first = (
        f"{place(server['port'])}: pid {server['pid']}, up {duration(server['seconds'])}, "
        f"{server['attached']} sessions attached, {server['detached']} detached, "
        f"{server['jobs']} jobs, key {safe(server['key'])}"
    )
    last = (
        f"  {count} connections without a login{': ' if sources else ''}{', '.join(sources)}; "
        f"{waiting['sources_with_penalty']} sources with a penalty; {waiting['held_sessions']} sessions held"
    )
    return [first, *_aligned(bounds), last]


def _sessions(sessions: list[dict[str, Any]]) -> list[str]:
    if not sessions:
        return []
    rows = [
        (
            session["id"][:SHOWN_ID_DIGITS],
            safe(session["user"]),
            session["key"][:SHOWN_KEY],
            "attached" if session["attached"] else "detached",
            duration(session["seconds"]),
            duration(session["age"]),
            *(amount(session[stream]) for stream in ("stdin", "stdout", "stderr")),
            safe(session["peer"]),
        )
        for session in sessions
    ]
    shown = _aligned([_HEAD, *rows], indent="")
    lines = [shown[0]]
    for line, session in zip(shown[1:], sessions, strict=True):
        lines += [line, *map(_job, session["jobs"])]
        if session.get("jobs_left_out"):
            lines.append(f"    and {session['jobs_left_out']} more jobs")
    return lines


def _job(job: dict[str, Any]) -> str:
    pid = "" if job["pid"] is None else f" pid {job['pid']}"
    limits = "".join(f" {safe(name)}={value:.15g}" for name, value in job["limits"].items())
    streams = " ".join(
        f"{name} {amount(job[stream])}" for name, stream in (("in", "stdin"), ("out", "stdout"), ("err", "stderr"))
    )
    return (
        f"    {job['channel']} {safe(job['kind'])}{pid} {duration(job['seconds'])} {streams} "
        f"{safe(job['on_disconnect'])}{limits} {safe(job['text'])}"
    )


def _aligned(rows: Sequence[tuple[str, ...]], indent: str = "  ") -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]
