"""Records the session that README shows: ``python docs/record.py``, in an environment with the ``test`` extra.

It runs the real programs: a server that ``twistd`` starts in a home folder of its own, ``trsh`` in a terminal, and a
proxy between them that cuts the connection.  It writes ``demo.cast``, an asciicast (version 2), and draws ``demo.svg``
from it.  ``python docs/record.py --draw`` only draws again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import pexpect
import pyte
from twisted.internet import reactor as installed_reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import blockingCallFromThread

from twisted_rsh.testing import NO_FAULTS, FaultProxy, Faults

reactor: Any = installed_reactor

HERE = Path(__file__).resolve().parent
CAST = HERE / "demo.cast"
PICTURE = HERE / "demo.svg"
SCRIPTS = Path(sys.executable).parent

COLUMNS, ROWS = 72, 24
"""Size of the terminal: the whole session fits on it, and nothing scrolls."""

DEFAULT_PORT = 8082
"""The port that a client dials when it is told none; the proxy listens there."""

PATIENCE = 20.0
"""Seconds that anything may take; what is recorded takes half a minute in all."""

KEY_SECONDS = 0.05
"""Seconds between two keys: a person who types fast."""

READ_SECONDS = 1.2
"""Seconds in which a viewer reads a short answer."""

OUTAGE_SECONDS = 4.0
"""Seconds without a connection: the client says so after two."""

END_SECONDS = 4.0
"""Seconds for which the last screen stays."""

PROJECT = Path("/tmp/greeting")  # noqa: S108 - it must not exist, and is removed
"""The folder of the session: short to read, and no part of anyone's home."""

GREETING = "你好，世界\n"


class Refusing:
    """A schedule: there is no connection to be had."""

    def plan(self, index: int) -> Faults:
        """See :class:`twisted_rsh.testing.Schedule`."""
        return Faults(refuse=True)


class Accepting(Factory):
    """Lets a proxy listen on a port of our choice."""

    noisy = False

    def __init__(self, proxy: FaultProxy) -> None:
        self._proxy = proxy

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Return the proxy's end of a connection that came."""
        return self._proxy.accept()


@contextlib.contextmanager
def running_server(home: Path) -> Iterator[int]:
    """Run a server whose text is GBK; give its port."""
    command = [str(SCRIPTS / "twistd"), "-n", "--pidfile=", "rsh", "--port", "0", "--encoding", "gbk"]
    with (
        (home / "server.log").open("wb") as log,
        subprocess.Popen(command, env=environment(home), cwd=home, stdout=log, stderr=log) as server,
    ):
        try:
            records = home / ".local" / "state" / "twisted-rsh" / "run"
            deadline = time.monotonic() + PATIENCE
            while not list(records.glob("*.json")):
                if time.monotonic() > deadline or server.poll() is not None:
                    raise SystemExit(f"the server did not start: {(home / 'server.log').read_text()}")
                time.sleep(0.05)
            [record] = records.glob("*.json")
            shutil.copy(record, records / f"{DEFAULT_PORT}.json")  # as the proxy's port is not the server's
            yield int(record.stem)
        finally:
            server.terminate()


@contextlib.contextmanager
def running_proxy(port: int) -> Iterator[FaultProxy]:
    """Run a proxy before the server, on the port that clients dial; its reactor has a thread of its own."""
    proxy = FaultProxy(reactor, TCP4ClientEndpoint(reactor, "127.0.0.1", port))
    thread = threading.Thread(target=reactor.run, kwargs={"installSignalHandlers": False})
    thread.start()
    try:
        blockingCallFromThread(reactor, reactor.listenTCP, DEFAULT_PORT, Accepting(proxy), interface="127.0.0.1")
        yield proxy
    finally:
        blockingCallFromThread(reactor, proxy.stop)
        reactor.callFromThread(reactor.stop)
        thread.join()


def environment(home: Path) -> dict[str, str]:
    """Make the environment of a user who has nothing but a home folder."""
    return {
        "HOME": str(home),
        "PATH": f"{SCRIPTS}{os.pathsep}{os.defpath}",
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "SHELL": "/bin/bash",
        "PS1": "$ ",
    }


@dataclass
class Recorder:
    """Takes what the terminal shows, with the time.

    :ivar screen: what is on the terminal now.
    :ivar events: what an asciicast has: seconds, kind, text.
    """

    screen: pyte.Screen = field(default_factory=lambda: pyte.Screen(COLUMNS, ROWS))
    events: list[tuple[float, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stream = pyte.Stream(self.screen)
        self._begun = time.monotonic()

    def write(self, text: str) -> None:
        """Take output; pexpect calls this."""
        self.events.append((round(time.monotonic() - self._begun, 3), "o", text))
        self._stream.feed(text)

    def flush(self) -> None:
        """Do nothing; pexpect calls this."""

    def say(self, caption: str) -> None:
        """Set a marker."""
        self.events.append((round(time.monotonic() - self._begun, 3), "m", caption))


class Typist:
    """Sits at the terminal.

    :param home: of the user.
    :param recorder: takes what is shown.
    """

    def __init__(self, home: Path, recorder: Recorder) -> None:
        self._recorder = recorder
        self._child = pexpect.spawn(
            "/bin/bash",
            ["--norc", "--noprofile", "--noediting"],
            env=environment(home),
            cwd=home,
            dimensions=(ROWS, COLUMNS),
            encoding="utf-8",
            timeout=PATIENCE,
        )
        self._child.logfile_read = recorder
        recorder.screen.write_process_input = self._child.send  # where the cursor is, which the console asks

    def watch(self, seconds: float) -> None:
        """Look at the screen for a while."""
        self._child.expect([pexpect.TIMEOUT], timeout=seconds)

    def until(self, text: str, count: int = 1) -> None:
        """Wait until a line of the screen is, or lines of it are, this."""
        deadline = time.monotonic() + PATIENCE
        while [line.rstrip() for line in self._recorder.screen.display].count(text) < count:
            if time.monotonic() > deadline:
                raise SystemExit("\n".join([f"not shown: {text}", *self._recorder.screen.display]))
            self.watch(0.05)

    def press(self, key: str) -> None:
        """Press one key."""
        self._child.send(key)
        self.watch(KEY_SECONDS)

    def enter(self, line: str) -> None:
        """Type a line."""
        for key in line:
            self.press(key)
        self.watch(4 * KEY_SECONDS)
        self.press("\r")

    def leave(self) -> None:
        """End the shell in the terminal."""
        self._child.sendeof()
        self._child.expect(pexpect.EOF)
        self._child.close()


def play(recorder: Recorder, typist: Typist, proxy: FaultProxy) -> None:
    """Do what is to be seen."""
    typist.until("$")
    recorder.say("the console: one shell on the other machine, for as long as it is open")
    typist.enter("trsh")
    typist.until(">>:")
    typist.watch(READ_SECONDS / 2)
    typist.enter(f"cd {PROJECT}")
    typist.until(">>:")
    typist.enter("pwd; ls")
    typist.until("hello.txt")
    typist.until(">>:")
    typist.watch(READ_SECONDS)
    recorder.say("GBK on the server, readable here")
    typist.enter("od -An -tx1 hello.txt; cat hello.txt")
    typist.until(GREETING.strip())
    typist.until(">>:")
    typist.watch(READ_SECONDS)
    recorder.say("the connection is cut; the command goes on")
    typist.enter("for i in 1 2 3 4 5; do echo step $i; sleep 1; done")
    typist.until("step 2")
    proxy.schedule = Refusing()
    reactor.callFromThread(proxy.cut_all)
    typist.watch(OUTAGE_SECONDS)
    proxy.schedule = NO_FAULTS
    typist.until("[resumed]")
    typist.until("step 5")
    typist.until(">>:")
    typist.watch(READ_SECONDS)
    recorder.say("Ctrl-C interrupts the command, not the console")
    typist.enter("sleep 1000")
    typist.watch(READ_SECONDS)
    typist.press("\x03")
    typist.until("[status 130]")
    typist.until(">>:")
    typist.watch(READ_SECONDS)
    typist.press("\x04")
    typist.until("$")
    recorder.say("one command: its output, and its own exit status")
    typist.enter("trsh 127.0.0.1 'echo done; exit 7'; echo status $?")
    typist.until("status 7")
    typist.watch(END_SECONDS)


def record() -> None:
    """Write the asciicast."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        home = Path(folder)
        PROJECT.mkdir()
        try:
            (PROJECT / "hello.txt").write_bytes(GREETING.encode("gbk"))
            with running_server(home) as port, running_proxy(port) as proxy:
                recorder = Recorder()
                typist = Typist(home, recorder)
                play(recorder, typist, proxy)
                events = list(recorder.events)
                typist.leave()
        finally:
            shutil.rmtree(PROJECT)
    head = {"version": 2, "width": COLUMNS, "height": ROWS, "title": "twisted-rsh", "env": {"TERM": "xterm-256color"}}
    lines = [json.dumps(head), *(json.dumps(event, ensure_ascii=False) for event in events)]
    CAST.write_text("\n".join(lines) + "\n", "utf-8")


# The picture

CELL_WIDTH, CELL_HEIGHT = 8.4, 19
"""Pixels of a character, at a font size of 14."""

MARGIN, BAR = 14, 34
"""Pixels around the text, and of the bar above it."""

FRAME_SECONDS = 0.04
"""What is shown for a shorter time than this is not drawn."""

STYLE = """
svg{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.w{fill:#fff;stroke:#d0d7de}.t,text{fill:#24292f}.c{fill:#57606a;font-size:13px}.u{fill:#8c959f;fill-opacity:.6}
.red{fill:#b3261e}.green{fill:#116329}.brown,.yellow{fill:#7d4e00}.blue{fill:#0550ae}.magenta{fill:#8250df}.cyan{fill:#1b7c83}
.bold{font-weight:bold}
@media(prefers-color-scheme:dark){.w{fill:#161b22;stroke:#30363d}.t,text{fill:#e6edf3}.c{fill:#9198a1}
.red{fill:#ff7b72}.green{fill:#3fb950}.brown,.yellow{fill:#d29922}.blue{fill:#79c0ff}.magenta{fill:#d2a8ff}.cyan{fill:#56d4dd}}
g{animation-iteration-count:infinite;animation-timing-function:step-end}
@media(prefers-reduced-motion:reduce){g{animation-name:none!important}}
"""

Run = tuple[int, str, str]
"""A column, the classes of a style, and the text."""


@dataclass
class Piece:
    """Something that is shown for some time: a line of the screen, or a caption.

    :ivar row: of the screen; -1 for the caption.
    :ivar runs: what it shows.
    :ivar begin: seconds.
    :ivar end: seconds.
    """

    row: int
    runs: tuple[Run, ...]
    begin: float
    end: float = -1.0


def runs_of(screen: pyte.Screen, row: int) -> tuple[Run, ...]:
    """Cut a line of the screen into runs of one style; spaces between them need no drawing."""
    runs: list[Run] = []
    line = screen.buffer[row]
    column = 0
    while column < screen.columns:
        char = line[column]
        if char.data in (" ", ""):
            column += 1
            continue
        style = " ".join([*([char.fg] if char.fg != "default" else []), *(["bold"] if char.bold else [])])
        start, text = column, ""
        while column < screen.columns:
            char = line[column]
            ahead = " ".join([*([char.fg] if char.fg != "default" else []), *(["bold"] if char.bold else [])])
            if char.data == " " and line[column + 1].data in (" ", ""):
                break
            if char.data not in ("", " ") and ahead != style:
                break
            text += char.data
            column += 1
        runs.append((start, style, text.rstrip()))
    return tuple(runs)


def width_of(text: str) -> int:
    """Count the cells that a text takes."""
    return sum(2 if "\u1100" <= char <= "\uffe6" else 1 for char in text)


@dataclass
class Film:
    """What is to be drawn, worked out from an asciicast.

    :ivar pieces: lines and captions.
    :ivar cursor: seconds, column and row of each place of the cursor.
    :ivar seconds: how long it is.
    """

    pieces: list[Piece] = field(default_factory=list)
    cursor: list[tuple[float, int, int]] = field(default_factory=list)
    seconds: float = 0.0


def film_of(events: list[tuple[float, str, str]]) -> Film:
    """Play an asciicast, and note what is shown from when to when."""
    film = Film(seconds=events[-1][0] + END_SECONDS)
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.Stream(screen)
    shown: dict[int, Piece] = {}

    def show(row: int, runs: tuple[Run, ...], now: float) -> None:
        piece = shown.get(row)
        if piece is not None and piece.runs == runs:
            return
        if piece is not None:
            piece.end = now
        shown[row] = Piece(row, runs, now)
        film.pieces.append(shown[row])

    for number, (now, kind, text) in enumerate(events):
        if kind == "m":
            show(-1, ((0, "c", text),), now)
            continue
        stream.feed(text)
        if number + 1 < len(events) and events[number + 1][0] - now < FRAME_SECONDS:
            continue
        for row in range(ROWS):
            show(row, runs_of(screen, row), now)
        film.cursor.append((now, screen.cursor.x, screen.cursor.y))
    film.pieces = [piece for piece in film.pieces if piece.runs]
    return film


def draw(film: Film) -> str:
    """Draw a film as one animated SVG; where nothing moves it is the last screen."""
    width, height = round(2 * MARGIN + COLUMNS * CELL_WIDTH), BAR + 2 * MARGIN + ROWS * CELL_HEIGHT
    percent = 100 / film.seconds
    rules, groups = [f"g{{animation-duration:{film.seconds:.2f}s}}"], []
    for number, piece in enumerate(film.pieces):
        at_end = piece.end < 0
        frames = "0%{opacity:0}" if piece.begin > 0 else ""
        frames += f"{piece.begin * percent:.2f}%{{opacity:1}}"
        frames += "" if at_end else f"{piece.end * percent:.2f}%,to{{opacity:0}}"
        rules.append(f"@keyframes k{number}{{{frames}}}")
        y = BAR / 2 + 5 if piece.row < 0 else BAR + MARGIN + (piece.row + 0.75) * CELL_HEIGHT
        x = 76 if piece.row < 0 else MARGIN
        texts = "".join(
            f'<text x="{x + column * CELL_WIDTH:g}" y="{y:g}"'
            + (f' textLength="{width_of(text) * CELL_WIDTH:g}"' if piece.row >= 0 else "")
            + (f' class="{style}"' if style else "")
            + f">{escape(text, quote=False)}</text>"
            for column, style, text in piece.runs
        )
        groups.append(
            f'<g style="animation-name:k{number}"{"" if at_end else " opacity=" + chr(34) + "0" + chr(34)}>{texts}</g>'
        )
    steps = "".join(
        f"{now * percent:.2f}%{{transform:translate({x * CELL_WIDTH:g}px,{y * CELL_HEIGHT}px)}}"
        for now, x, y in film.cursor
    )
    rules.append(f"@keyframes u{{{steps}}}")
    _, x, y = film.cursor[-1]
    lights = "".join(f'<circle cx="{20 + 18 * i}" cy="{BAR / 2:g}" r="5" class="u"/>' for i in range(3))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="A recorded session of trsh"><style>{STYLE}{"".join(rules)}</style>'
        f'<rect class="w" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8"/>{lights}'
        f'<g style="animation-name:u;transform:translate({x * CELL_WIDTH:g}px,{y * CELL_HEIGHT}px)">'
        f'<rect class="u" x="{MARGIN}" y="{BAR + MARGIN}" width="{CELL_WIDTH}" height="{CELL_HEIGHT}"/></g>'
        + "\n".join(groups)
        + "</svg>\n"
    )


def main() -> None:
    """Record and draw."""
    parser = argparse.ArgumentParser(description="Record the session that README shows, and draw it.")
    parser.add_argument("--draw", action="store_true", help="only draw what was recorded before")
    if not parser.parse_args().draw:
        record()
    _, *lines = CAST.read_text("utf-8").splitlines()
    PICTURE.write_text(draw(film_of([tuple(json.loads(line)) for line in lines])), "utf-8")
    print(f"{PICTURE.name}: {PICTURE.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
