"""The console on a terminal while its connection is cut: what it shows, and how its user leaves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.cutting import CuttingProxy, cutting_proxy
from tests.cli.terminal import Console, Terminal, restored
from tests.cli.test_program_outage import words_to
from tests.server_process import HOST, ServerProcess

pytestmark = [pytest.mark.real, pytest.mark.uncut("makes its own outages, at the moments that it is about")]

NOTICE = "[connection lost; trying to resume; Enter ~. to give up]"


@pytest.fixture
def proxy(server: ServerProcess) -> Iterator[CuttingProxy]:
    """A way to the server that can be cut."""
    with cutting_proxy(server.port) as proxy:
        yield proxy


def opened(console: Console, server: ServerProcess, proxy: CuttingProxy, *words: str) -> Terminal:
    """Open a client behind the proxy."""
    return console(server, *words_to(server, proxy, *words), port=False)


def test_console_goes_on(server: ServerProcess, proxy: CuttingProxy, console: Console) -> None:
    """C-08: the shell keeps its state, and no output is lost, through any number of cuts."""
    terminal = opened(console, server, proxy)
    terminal.enter("cd /; x=kept")
    for number in range(5):
        terminal.prompt()
        proxy.cut()
        terminal.enter(f"pwd; echo ${{x}}{number}")
        terminal.shows(f"kept{number}")
    terminal.enter("echo start; sleep 0.5; echo middle; sleep 0.5; echo end")
    terminal.shows("start")
    proxy.cut()
    terminal.shows("middle")
    proxy.cut()
    terminal.shows("end")
    terminal.enter("exit")
    assert terminal.end() == 0
    assert not any("connection" in line or "resumed" in line for line in terminal.lines)
    assert restored(terminal)


def test_outage_at_the_prompt(server: ServerProcess, proxy: CuttingProxy, console: Console) -> None:
    """After two seconds of outage a notice with the way out appears above the prompt, and another at its end."""
    terminal = opened(console, server, proxy)
    terminal.enter("echo here")
    terminal.prompt()
    proxy.go_down()
    terminal.shows(NOTICE)
    terminal.prompt()
    proxy.is_up = True
    terminal.shows("[resumed]")
    terminal.enter("echo there")
    terminal.shows("there")
    terminal.prompt()
    assert [line for line in terminal.lines if line.startswith("[")] == [NOTICE, "[resumed]"]
    terminal.enter("exit")
    assert terminal.end() == 0


def test_escape_at_the_prompt(server: ServerProcess, proxy: CuttingProxy, console: Console) -> None:
    """C-09: ``~.`` at the prompt during an outage ends the console at once, with 255; at other times it is typed."""
    terminal = opened(console, server, proxy)
    terminal.enter("echo ~.x")
    terminal.shows("~.x")
    terminal.prompt()
    proxy.go_down()
    terminal.shows(NOTICE)
    terminal.prompt()
    terminal.type("a~.")
    terminal.shows(">>: a~.")
    terminal.type("\x15~.")
    assert terminal.end() == 255
    assert terminal.lines[-1].startswith("trsh: gave up while there was no connection")
    assert restored(terminal)


@pytest.mark.parametrize("words", [(), ("-T",), ("-t", HOST, "echo ready; cat")])
def test_escape_while_a_command_runs(
    server: ServerProcess, proxy: CuttingProxy, console: Console, words: tuple[str, ...]
) -> None:
    """C-09: the same while a command has the terminal, or reads it line by line; the terminal is as it was."""
    terminal = opened(console, server, proxy, *words)
    if HOST not in words:
        terminal.enter("echo ready; cat")
    terminal.shows("ready")
    terminal.type("x~.\r")  # the escape is known at any time, at the beginning of a line
    terminal.shows("x~.")
    proxy.go_down()
    terminal.shows(NOTICE)
    terminal.type("\r~.\r")
    assert terminal.end() == 255
    assert terminal.lines[-1].startswith("trsh: gave up while there was no connection")
    assert restored(terminal)


def test_notice_beside_a_running_command(server: ServerProcess, proxy: CuttingProxy, console: Console) -> None:
    """C-04: on a terminal that is lent, notice and end stand in lines of their own, and the command goes on."""
    terminal = opened(console, server, proxy, "-t", HOST, "printf half; read x; echo got $x")
    terminal.until(lambda: terminal.lines == ["half"])
    proxy.go_down()
    terminal.shows(NOTICE)
    terminal.type("typed\r")
    proxy.is_up = True
    terminal.shows("[resumed]")
    terminal.shows("got typed")
    assert terminal.end() == 0
    assert restored(terminal)


def test_quiet_outage(server: ServerProcess, proxy: CuttingProxy, console: Console) -> None:
    """With ``-q`` there is no notice, and ``~.`` still works."""
    terminal = opened(console, server, proxy, "-q", "-t", HOST, "echo ready; cat")
    terminal.shows("ready")
    proxy.go_down()
    terminal.type("x")
    for _ in range(50):
        terminal._show(0.05)
    assert terminal.lines == ["ready"]  # the echo of a key comes from the server
    terminal.type("\r~.")
    assert terminal.end() == 255
    assert restored(terminal)


def test_interrupts_during_an_outage(server: ServerProcess, proxy: CuttingProxy, console: Console) -> None:
    """C-09: in a console on pipes, Ctrl-C twice during an outage ends the client, as a prompt would be of no use."""
    terminal = opened(console, server, proxy, "-T")
    terminal.enter("echo ready; sleep 1000")
    terminal.shows("ready")
    proxy.go_down()
    terminal.shows(NOTICE)
    terminal.type("\x03")
    terminal.shows("^C")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert restored(terminal)
