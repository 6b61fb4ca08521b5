"""The audit log: its entries, what is left out of them, and what becomes of those that cannot be written."""

from __future__ import annotations

import errno
import hashlib
import json
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent

from tests.link.wire import collecting_log
from tests.watching.events import SESSION, STARTED, Memory, began, finished, refusal
from twisted_rsh.core.endings import (
    Exited,
    Limit,
    LimitReached,
    OutcomeUnknown,
    RefusalReason,
    Refused,
    Signalled,
    Stopped,
    TimedOut,
)
from twisted_rsh.core.requests import Terminal
from twisted_rsh.interfaces import JobRefused
from twisted_rsh.server_events import (
    LogsRotated,
    RefusalKind,
    ServerStopped,
    SessionBegan,
    SessionDetached,
    SessionEnded,
    SessionInfo,
    SessionResumed,
)
from twisted_rsh.watching.audit import REFUSALS_A_MINUTE, Audit
from twisted_rsh.watching.entries import MAX_LINE_BYTES, MAX_TEXT_CHARACTERS, MAX_WORDS, TextForm

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
PEER = "127.0.0.1:5000"


def audit(sink: Memory, form: TextForm = TextForm.NONE, **how: Any) -> Audit:
    """Return an audit that writes to a place in memory, on the first second of 2026."""
    made = Audit(sink, form, now=lambda: 1_767_225_600.25, **how)
    made.happened(STARTED)
    return made


def test_every_event() -> None:
    """Each event has its entry with the documented members, numbered, with the time and the server."""
    sink = Memory()
    log = audit(sink)
    ended = {"seconds": 9.0001, "was_detached": True, "stdin": 1, "stdout": 2, "stderr": 3}
    for event in (
        SessionBegan(session=SESSION, peer=PEER),
        began(7, argv=("ls", "-l"), terminal=Terminal(), timeout=5.0, max_output=10),
        SessionDetached(session=SESSION, peer=PEER, reason="cut", jobs=1),
        SessionResumed(session=SESSION, peer=PEER, away=1.25),
        finished(7),
        SessionEnded(session=SESSION, peer=PEER, reason="the client left", **ended),  # type: ignore[arg-type]  # each is of its own type
        refusal(),
        ServerStopped(),
    ):
        log.happened(event)
    entries = sink.entries()
    for number, entry in enumerate(entries, 1):
        head = {name: entry.pop(name) for name in ("v", "time", "server", "seq")}
        assert head == {"v": 1, "time": "2026-01-01T00:00:00.250000Z", "server": "01234567", "seq": number}
    of = {"session": SESSION.id, "user": "ada", "key": SESSION.key, "peer": PEER}
    streams = {"stdin": 1, "stdout": 2, "stderr": 3}
    limits = {"timeout": 5.0, "max_output": 10}
    job = {"job": 7, "kind": "argv", "in_shell": None, "terminal": True, "limits": limits}
    assert entries == [
        {"event": "server-started", "key": "SHA256:y", "addresses": ["127.0.0.1:8082"]},
        {"event": "session-began", **of},
        {"event": "job-began", **of, **job},
        {"event": "session-detached", **of, "reason": "cut", "jobs": 1},
        {"event": "session-resumed", **of, "away": 1.25},
        {
            "event": "job-ended",
            **of,
            "job": 7,
            "pid": 4711,
            "seconds": 1.235,
            **streams,
            "ending": {"kind": "exited", "code": 0},
        },
        {"event": "session-ended", **of, "reason": "the client left", "seconds": 9.0, "detached": True, **streams},
        {"event": "refused", "reason": "key", "peer": "192.0.2.1:5000", "detail": "no"},
        {"event": "server-stopped"},
    ]


@pytest.mark.parametrize(
    ("ending", "members"),
    [
        (Exited(3), {"kind": "exited", "code": 3}),
        (Signalled("KILL", True), {"kind": "signalled", "signal": "KILL", "core_dumped": True}),
        (TimedOut(1.5), {"kind": "timed-out", "seconds": 1.5}),
        (LimitReached(Limit.CPU, 9), {"kind": "limit", "limit": "cpu", "amount": 9}),
        (Stopped("TSTP"), {"kind": "stopped", "signal": "TSTP"}),
        (Refused(RefusalReason.NOT_FOUND, "x\x1b"), {"kind": "refused", "reason": "not-found", "text": "x\x1b"}),
        (OutcomeUnknown("?"), {"kind": "unknown", "text": "?"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_endings(ending: Any, members: dict[str, Any]) -> None:
    """Each kind of ending is an object with its name and its members."""
    sink = Memory()
    audit(sink).happened(finished(ending=ending))
    assert sink.entries()[-1]["ending"] == members


SECRET = "mysql --password=hunter2"


def test_no_text_by_default() -> None:
    """O-10: an entry has nothing of the text of a job unless that is asked for."""
    for request in ({"command": SECRET}, {"argv": ("x", SECRET)}, {"command": "x", "environment": (("A", SECRET),)}):
        for form in (TextForm.NONE, TextForm.HASH):
            sink = Memory()
            audit(sink, form).happened(began(**request))
            audit(sink, form).happened(finished(**request))
            assert b"hunter2" not in b"".join(sink.lines)


def test_hashes() -> None:
    """The hash is that of the bytes, of a list with a zero byte between two words; undecodable bytes count as sent."""
    for request, data in (
        ({"command": "ls -l"}, b"ls -l"),
        ({"argv": ("ls", "", "-l")}, b"ls\0\0-l"),
        ({"command": "\udcff\N{SNOWMAN}"}, b"\xff\xe2\x98\x83"),
        ({"command": "\ud800"}, b"\xed\xa0\x80"),
    ):
        sink = Memory()
        audit(sink, TextForm.HASH).happened(began(**request))
        entry = sink.entries()[-1]
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert "text" not in entry


@pytest.mark.parametrize(
    ("request_", "text", "cut"),
    [
        ({"command": "x" * MAX_TEXT_CHARACTERS}, "x" * MAX_TEXT_CHARACTERS, False),
        ({"command": "x" * (MAX_TEXT_CHARACTERS + 1)}, "x" * MAX_TEXT_CHARACTERS, True),
        ({"argv": ("ls", "", "-l\n")}, ["ls", "", "-l\n"], False),
        ({"argv": ("x",) * MAX_WORDS}, ["x"] * MAX_WORDS, False),
        ({"argv": ("x",) * (MAX_WORDS + 1)}, ["x"] * MAX_WORDS, True),
        ({"argv": ("x" * MAX_TEXT_CHARACTERS, "y")}, ["x" * MAX_TEXT_CHARACTERS], True),
        ({"shell": "bash"}, "bash", False),
        ({"subsystem": "sftp"}, "sftp", False),
        ({"command": "a\udcffb"}, "a\\udcffb", False),
    ],
    ids=str,
)
def test_full_text(request_: dict[str, Any], text: str | list[str], cut: bool) -> None:
    """The text is there up to its bound, and says so when it is cut."""
    sink = Memory()
    audit(sink, TextForm.FULL).happened(began(**request_))
    entry = sink.entries()[-1]
    assert (entry["text"], entry["cut"]) == (text, cut)


@pytest.mark.parametrize(
    "char", ["\x00", "\x1b", "\x7f", "\x9b", "\n", "\u2028", "\u202e", "\U0001f600", "\udc80", '"']
)
def test_strings_of_others(char: str) -> None:
    """O-10: whatever a stranger calls itself, a line is one line of printable ASCII within its bound."""
    sink = Memory()
    log = audit(sink, TextForm.FULL)
    session = SessionInfo(id="ab" * 16, user=char * 10_000, key=char * 10_000)
    log.happened(SessionBegan(session=session, peer=char * 10_000))
    log.happened(SessionDetached(session=session, peer=char * 10_000, reason=char * 10_000, jobs=1))
    log.happened(refusal(detail=char * 10_000))
    log.happened(began(command=char * 100_000))
    log.happened(began(argv=(char * 100_000,) * 2))
    log.happened(began(argv=(char,) * 10_000))
    log.happened(finished(ending=OutcomeUnknown(char * 10_000)))
    for line in sink.lines:
        assert line.endswith(b"}\n")
        assert line[:-1].decode("ascii").isprintable()
        assert len(line) <= MAX_LINE_BYTES
        json.loads(line).items()


def test_refusals_are_limited() -> None:
    """Of one reason there are so many entries a minute; the others are counted when the next comes, or last."""
    clock, sink = Clock(), Memory()
    log = audit(sink, seconds=clock.seconds)
    for _ in range(REFUSALS_A_MINUTE + 5):
        log.happened(refusal())
    log.happened(refusal(RefusalKind.BUSY))
    assert len(sink.lines) == 1 + REFUSALS_A_MINUTE + 1
    clock.advance(60)
    log.happened(refusal())
    count, last = sink.entries()[-2:]
    assert (count["event"], count["reason"], count["count"]) == ("refusals-left-out", "key", 5)
    assert last["event"] == "refused"
    for _ in range(REFUSALS_A_MINUTE + 1):
        log.happened(refusal())
    log.happened(ServerStopped())
    assert [(entry["event"], entry.get("count")) for entry in sink.entries()[-2:]] == [
        ("refusals-left-out", 2),
        ("server-stopped", None),
    ]


def test_a_gap() -> None:
    """Entries that cannot be written are counted; the next that can be has an entry about them before it."""
    sink = Memory()
    log = audit(sink)
    with collecting_log() as logged:
        sink.error = NO_SPACE
        for channel in range(5):
            log.happened(began(channel))
        assert critical(logged) == ["entries of the audit log are lost: No space left on device"]
        sink.error = None
        log.happened(began(6))
        log.happened(began(7))
    _, gap, sixth, seventh = sink.entries()
    assert (gap["event"], gap["lost"], gap["reason"], gap["seq"]) == ("gap", 5, "No space left on device", 7)
    assert gap["since"] == "2026-01-01T00:00:00.250000Z"
    assert [(entry["job"], entry["seq"]) for entry in (sixth, seventh)] == [(6, 8), (7, 9)]
    assert formatEvent(logged[-1]) == "the audit log is written again"


def critical(logged: list[LogEvent]) -> list[str]:
    """Return the lines of the log that call for the operator."""
    return [formatEvent(event) for event in logged if event["log_level"].name == "critical"]


def test_required() -> None:
    """A job whose beginning cannot be written is refused if the log is required, and only then; others are not."""
    sink = Memory()
    audit(sink).happened(began())
    log = audit(sink, is_required=True)
    sink.error = NO_SPACE
    with pytest.raises(JobRefused) as raised:
        log.happened(began())
    assert (raised.value.reason, "audit log" in raised.value.text) == (RefusalReason.RESOURCES, True)
    log.happened(finished())
    log.happened(SessionBegan(session=SESSION, peer=PEER))
    sink.error = None
    log.happened(began())
    assert [entry["event"] for entry in sink.entries()[-2:]] == ["gap", "job-began"]
    sink.error = NO_SPACE
    other = Audit(sink)
    other.happened(began())


def test_the_life_of_a_server() -> None:
    """The place is closed when the server has stopped, opened when it starts again, and at a rotation."""
    sink = Memory()
    log = audit(sink)
    log.happened(LogsRotated())
    log.happened(ServerStopped())
    log.happened(STARTED)
    assert sink.calls == ["reopen", "close", "reopen"]
    assert [(entry["event"], entry["seq"]) for entry in sink.entries()] == [
        ("server-started", 1),
        ("server-stopped", 2),
        ("server-started", 1),
    ]
