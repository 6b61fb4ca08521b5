"""The log of the server's own program has the lines that Twisted would write."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher, textFileLogObserver
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from twisted_rsh.server.line_log import LineLog

MOMENT = 1_790_000_000.25


class Breaks:
    """Cannot be written."""

    def __str__(self) -> str:
        raise RuntimeError


def event(text: str | None, **values: Any) -> dict[str, Any]:
    """Make an event as a logger does."""
    names = {"log_level": LogLevel.info, "log_namespace": "a.b", "log_format": text, "log_time": MOMENT}
    return {**names, "log_source": None, "log_logger": Logger("a.b"), **values}


EVENTS = [
    event("plain"),
    event("{a} and {b!r}", a=1, b="x"),
    event("{a:>5}|{b:.3f}|{c[0]}|{d.numerator}", a=1, b=2.0, c=["first"], d=7),
    event("{{braces}} {a}", a=1),
    event("two\nlines of {a}", a="two\nlines"),
    event("{a()}", a=lambda: "called"),
    event("{missing}"),
    event("{a}", a=Breaks()),
    event("{", a=1),
    event("{0}"),
    event(""),
    event(None),
    event("a failure", log_failure=Failure(ValueError("wrong"))),
    event("a system", log_system="sys"),
    event("flat {a}", a=1, log_flattened={}),
    event("a warning", log_level=LogLevel.warn),
    event("no time", log_time=None),
    event("later", log_time=MOMENT + 0.5),
    event("a second later", log_time=MOMENT + 1),
    event("earlier", log_time=MOMENT - 7200),
    {"log_format": "of an old kind", "log_time": MOMENT, "log_level": LogLevel.info},
    {"log_format": b"bytes", "log_time": MOMENT, "log_level": LogLevel.info, "log_namespace": "a"},
    {},
]


def test_lines_are_those_of_twisted() -> None:
    """Each event has the line that Twisted writes of it, whatever is wrong with it."""
    ours, twisteds = io.StringIO(), io.StringIO()
    log, reference = LineLog(ours), textFileLogObserver(twisteds)
    assert verifyObject(ILogObserver, log)
    for one in EVENTS:
        before = len(ours.getvalue()), len(twisteds.getvalue())
        log(dict(one))
        reference(dict(one))
        assert ours.getvalue()[before[0] :] == twisteds.getvalue()[before[1] :]
    assert "failure" in ours.getvalue()
    assert ours.getvalue().count("\n") > len(EVENTS)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
def test_times_are_those_of_the_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line has the local time with its offset."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        ours, twisteds = io.StringIO(), io.StringIO()
        LineLog(ours)(event("plain"))
        textFileLogObserver(twisteds)(event("plain"))
        assert ours.getvalue() == twisteds.getvalue()
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_logger_writes_to_it() -> None:
    """An observer of a publisher gets what a logger of it emits, each line at once."""
    file = io.StringIO()
    Logger("name.space", observer=LogPublisher(LineLog(file))).warn("{who} did it", who="ada")
    assert file.getvalue().endswith(" [name.space#warn] ada did it\n")
