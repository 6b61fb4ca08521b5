"""The server's configuration file: what it may say, where a mistake is, and whose word counts."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from twisted.logger import Logger, LogLevel, formatEvent
from twisted.python import usage

from tests.link.wire import collecting_log
from tests.serving import asynchronous, reactor
from twisted_rsh.configuration.running import RELOADABLE
from twisted_rsh.configuration.server_conf import MAX_CONF_BYTES, quoted
from twisted_rsh.log_level import LOG_LEVELS, leveled_log, set_log_level
from twisted_rsh.server.admission import Admission
from twisted_rsh.tap import Options, makeService
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import load_or_create_server_key


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """Every line of the log counts again after a test, as before it."""
    yield
    set_log_level(LOG_LEVELS[0])


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """The file of a folder for --config-dir."""
    folder = tmp_path / "rsh"
    folder.mkdir(mode=0o700)
    return folder / "server.conf"


def read(conf: Path, text: str | bytes | None, *words: str) -> Options:
    """Return what holds with a file in the folder of the keys, and a command line."""
    if text is not None:
        conf.write_bytes(text if isinstance(text, bytes) else text.encode())
    options = Options()
    options.parseOptions(["--config-dir", str(conf.parent), *words])
    return options


def refusal(capfd: pytest.CaptureFixture[str], call: Callable[[], object], status: int = 2) -> str:
    """Return the one line with which a start is refused, without the program's name."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as exit_:
        call()
    assert exit_.value.code == status
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    return err[:-1].removeprefix("twisted-rsh: ")


def test_what_a_file_says(conf: Path) -> None:
    """O-07: names, values, quotation marks, comments, repeated lines and yes or no count as the options do."""
    options = read(
        conf,
        "# the server of this account\r\n\n"
        "port 2222\n"
        "  login-timeout\t2.5   # seconds\n"
        'interface 127.0.0.1\ninterface "::1"\n'
        'listen "unix:/with space/x:mode=600"\n'
        "log-commands yes\nno-penalties no\n"
        '\tlog-level "warn"',
    )
    assert (options["port"], options["login-timeout"], options["log-level"]) == (2222, 2.5, "warn")
    assert options["interfaces"] == ["127.0.0.1", "::1"]
    assert options["listen"] == ["unix:/with space/x:mode=600"]
    assert (bool(options["log-commands"]), bool(options["no-penalties"])) == (True, False)


def test_the_command_line_wins(conf: Path) -> None:
    """O-07: an option of the command line, short ones too, counts in the place of each of its lines."""
    text = "port 1\ninterface 127.0.0.1\ninterface ::1\nlisten tcp:1\nmax-sessions 3\n"
    options = read(conf, text, "-p", "2", "-i", "127.0.0.2", "--max-sessions=4")
    assert (options["port"], options["interfaces"], options["max-sessions"]) == (2, ["127.0.0.2"], 4)
    assert options["listen"] == ["tcp:1"]


def test_a_file_that_is_named(conf: Path, tmp_path: Path) -> None:
    """O-07: --config names the file in the place of the one in the folder, and may then name the folder itself."""
    conf.write_text("port 1\n")
    named = tmp_path / "named.conf"
    named.write_text(f"port 3\nconfig-dir {conf.parent}\n")
    options = Options()
    options.parseOptions(["--config", str(named)])
    assert (options["port"], options["config-dir"]) == (3, str(conf.parent))
    assert options.conf_path == str(named)


@pytest.mark.parametrize("text", [None, "", "\n\n# nothing\n"])
def test_no_file_and_an_empty_one(text: str | None, conf: Path) -> None:
    """O-07: without a file, or with one that says nothing, the defaults hold."""
    options, plain = read(conf, text), Options()
    assert {**options, "config-dir": None} == dict(plain)
    assert options.conf_was_read == (text is not None)


MISTAKES = {
    "prot 8082": "1:1: no option is named 'prot'; port is one",
    "\n  zzz 1": "2:3: no option is named 'zzz'; `twistd rsh --help` lists the options",
    "Port 1": "1:1: no option is named 'Port'; port is one",
    "port=8082": "1:1: write `port 8082`, without =",
    "port=": "1:1: write `port VALUE`, without =",
    "--port 8082": "1:1: write `port`, without --",
    "p 8082": "1:1: no option is named 'p'; `twistd rsh --help` lists the options",
    "port": "1:5: port needs a value after it",
    "port # 8082": "1:6: port needs a value after it",
    "port 65536": "1:6: port takes a whole number from 0 to 65535, not '65536'",
    "\tport\t\tmany": "1:8: port takes a whole number from 0 to 65535, not 'many'",
    'port ""': "1:6: port takes a whole number from 0 to 65535, not ''",
    "port 1 2": '1:8: one value stands on a line; write "..." around one that has spaces',
    'port "1"2': '1:9: one value stands on a line; write "..." around one that has spaces',
    'port "1"#': '1:9: one value stands on a line; write "..." around one that has spaces',
    'shell "/bin/sh': '1:7: a quotation mark is not closed; write "..." around the value',
    "port 1\n# and\nport 1": "3:1: port stands in line 1 already; keep one of the lines",
    "log-commands no\nlog-commands no": "2:1: log-commands stands in line 1 already; keep one of the lines",
    "log-commands": "1:13: log-commands takes yes or no",
    "log-commands true": "1:14: log-commands takes yes or no, not 'true'",
    "interface localhost": "1:11: interface 'localhost' is not a numeric address, such as 127.0.0.1 or ::1",
    "shell sh": "1:7: shell 'sh' is not an absolute path, such as /bin/sh",
    "shell /no/such": "1:7: shell '/no/such' is not a program that can be run",
    "encoding nonsense": "1:10: encoding 'nonsense' is not a code page that Python knows; name one such as utf-8",
    "sftp cat": "1:6: sftp takes system, own, off or the absolute path of a program, not 'cat'",
    "cgroups maybe": "1:9: cgroups takes auto or never, not 'maybe'",
    "log-level loud": "1:11: log-level takes info, warn, error or critical, not 'loud'",
    "keepalive inf": "1:11: keepalive takes a number of seconds above 0, not 'inf'",
    "config /x": "1:1: config is an option of the command line alone; take the line out",
    "help": "1:1: help is an option of the command line alone; take the line out",
    "check yes": "1:1: check is an option of the command line alone; take the line out",
    "config-dir /x": "1:1: this file was found by its folder; name the folder on the command line",
    "po\0rt 1": "1:3: a line has no NUL; write the file with a text editor",
    "\ufeffport 1": "1:1: no option is named '\\ufeffport'; port is one",
    "port \x1b[31m": "1:6: port takes a whole number from 0 to 65535, not '\\x1b[31m'",
}
"""What a file may say wrong, and where the line of the refusal says it is."""


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes(text: str, conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: a mistake in the file ends the start with one line: the file, the line, the column, and what is right."""
    assert refusal(capfd, lambda: read(conf, text)) == f"{conf}:{MISTAKES[text]}"


class Related(Options):
    """Options of which two cannot be together."""

    def postOptions(self) -> None:
        if self["max-kept-jobs"] > self["max-sessions"]:
            raise usage.UsageError("--max-kept-jobs is more than --max-sessions")


def test_what_lines_say_together(conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: options that do not fit each other are refused together, at the line that is named if it is the file's."""
    conf.write_text("max-kept-jobs 9\nmax-sessions 9\n")
    words = ["--config-dir", str(conf.parent)]
    options = Related()
    options.parseOptions(words)
    assert options["max-kept-jobs"] == 9
    conf.write_text("max-sessions 8\nmax-kept-jobs 9\n")
    line = refusal(capfd, lambda: Related().parseOptions(words))
    assert line == f"{conf}:2:15: max-kept-jobs is more than --max-sessions"
    line = refusal(capfd, lambda: Related().parseOptions([*words, "--max-kept-jobs", "10"]))
    assert line == "--max-kept-jobs is more than --max-sessions"


def test_bytes_that_are_no_text(conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: a name that is no UTF-8 is refused like any other; a value may be any bytes, as a path may."""
    assert refusal(capfd, lambda: read(conf, b"\xff 1")).startswith(f"{conf}:1:1: no option is named '\\udcff'")
    assert read(conf, b"listen unix:/\xff")["listen"] == ["unix:/\udcff"]


def write_at_the_bound(conf: Path) -> None:
    conf.write_bytes(b"port 7\n" + b"#" * (MAX_CONF_BYTES - 7))


def test_the_largest_file(conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: a file of as many bytes as there may be is read; with one more it is refused."""
    write_at_the_bound(conf)
    assert read(conf, None)["port"] == 7
    with conf.open("ab") as file:
        file.write(b"#")
    assert f"{conf} has more than {MAX_CONF_BYTES} bytes" in refusal(capfd, lambda: read(conf, None))


def make_fifo(conf: Path) -> None:
    os.mkfifo(conf)


def make_socket(conf: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(conf))


def make_foreign(conf: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    conf.touch()
    os.chown(conf, 54321, 54321)


def make_with_mode(mode: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.touch()
        path.chmod(mode)

    return make


BAD_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "group-writable": (make_with_mode(0o664), "run: chmod go-w {conf}"),
    "writable by others": (make_with_mode(0o646), "run: chmod go-w {conf}"),
    "foreign-owned": (make_foreign, "belongs to uid 54321, not to you or root"),
    "a FIFO": (make_fifo, "{conf} is not a regular file"),
    "a socket": (make_socket, "{conf} is not a regular file"),
    "a folder": (lambda conf: conf.mkdir(), "{conf} is not a regular file"),
    "a link": (lambda conf: conf.symlink_to("/etc/passwd"), "{conf} is not a regular file"),
    "a device": (lambda conf: conf.symlink_to("/dev/zero"), "{conf} is not a regular file"),
}
"""Files that no server reads: how to make each, and what the line says."""


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("kind", BAD_FILES)
def test_files_that_are_not_read(kind: str, named: bool, conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """O-01: a file that another user could have written, or that is no file, keeps the server from starting."""
    make, line = BAD_FILES[kind]
    make(conf)
    words = ("--config", str(conf)) if named else ()
    assert line.format(conf=conf) in refusal(capfd, lambda: read(conf, None, *words))


def test_a_folder_that_others_can_write(conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """O-01: so does one in a folder in which another user could have put it."""
    conf.touch()
    conf.parent.chmod(0o777)
    assert f"run: chmod go-w {conf.parent}" in refusal(capfd, lambda: read(conf, None))


def test_a_named_file_that_is_missing(conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: a file that the command line names must be there."""
    assert refusal(capfd, lambda: read(conf, None, "--config", str(conf))) == f"{conf}: No such file or directory"


def test_a_file_that_the_system_does_not_give(conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: a file that cannot be read, for whatever reason of the system's, is one line, and no defaults instead."""
    name = "x" * 300
    line = refusal(capfd, lambda: read(conf, None, "--config", name))
    assert line == f"{os.getcwd()}/{name}: File name too long"


def test_mistakes_of_the_command_line_first(conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: an option that does not exist is told, whatever the file says; help needs no file."""
    assert "nonsense" in refusal(capfd, lambda: read(conf, "nonsense", "--nonsense"))
    with pytest.raises(SystemExit) as exit_:
        read(conf, "nonsense", "--help")
    assert exit_.value.code == 0


# --check and --show


def test_check_of_what_is_good(conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: --check exits with 0, tells the file and the key, and makes nothing."""
    with pytest.raises(SystemExit) as exit_:
        read(conf, "port 1\nlisten systemd:domain=INET:index=0", "--check")
    assert exit_.value.code == 0
    assert capfd.readouterr() == (f"good: {conf}; the server will make its key when it starts\n", "")
    assert os.listdir(conf.parent) == ["server.conf"]
    key = load_or_create_server_key(ConfigFolders.at(str(conf.parent)))
    conf.unlink()
    with pytest.raises(SystemExit):
        read(conf, None, "--check")
    assert capfd.readouterr().out == f"good: no file of options; the server's key is {key.fingerprint}\n"


def broken_key(conf: Path) -> None:
    load_or_create_server_key(ConfigFolders.at(str(conf.parent)))
    Path(ConfigFolders.at(str(conf.parent)).server_key_path).write_text("no key")


def open_key(conf: Path) -> None:
    load_or_create_server_key(ConfigFolders.at(str(conf.parent)))
    Path(ConfigFolders.at(str(conf.parent)).server_key_path).chmod(0o640)


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a line of the file": (lambda conf: conf.write_text("port x"), ":1:6: port takes a whole number"),
    "an endpoint": (lambda conf: conf.write_text("listen nonsense:"), "--listen 'nonsense:'"),
    "a code page": (lambda conf: conf.write_text("encoding hex"), "(--shell, --encoding)"),
    "the server's key": (broken_key, "holds no P-256 private key"),
    "the mode of the server's key": (open_key, "run: chmod 600"),
    "a key of a client": (lambda conf: (conf.parent / "authorized_keys").write_text("nonsense"), "authorized_keys"),
    "the mode of that file": (
        lambda conf: make_with_mode(0o666)(conf.parent / "authorized_keys"),
        "run: chmod go-w",
    ),
    "the mode of the folder": (lambda conf: conf.parent.chmod(0o755), "run: chmod 700"),
    "the mode of the folder of records": (lambda conf: (conf.parent / "run").mkdir(mode=0o755), "run: chmod 700"),
    "the file's kind": (make_fifo, "is not a regular file"),
}
"""What --check finds: how to make it, and what its line says."""


@pytest.mark.parametrize("fault", FAULTS)
def test_check_of_what_is_not(fault: str, conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: --check exits with 1 and one line for a fault of the file, the keys or the machine."""
    make, line = FAULTS[fault]
    make(conf)
    assert line in refusal(capfd, lambda: read(conf, None, "--check"), status=1)


def test_check_does_not_listen(conf: Path) -> None:
    """O-07: --check leaves a port alone that another program has, and twistd's files too."""
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        conf.write_text(f"port {squatter.getsockname()[1]}\ninterface 127.0.0.1\n")
        with pytest.raises(SystemExit) as exit_:
            read(conf, None, "--check")
    assert exit_.value.code == 0


def test_what_holds_is_shown(conf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """O-07: --show has a line for each keyword; as a file, the lines say the same again."""
    text = 'port 5\ninterface ::1\ninterface 127.0.0.1\nno-penalties yes\nlisten "unix:/a b\\\\\\"c"\nmax-sessions 9\n'
    words = ("--log-level", "warn")
    with pytest.raises(SystemExit) as exit_:
        read(conf, text, *words, "--show")
    assert exit_.value.code == 0
    shown = capfd.readouterr().out
    names = [line.removeprefix("# ").split()[0].rstrip(":") for line in shown.splitlines()]
    assert set(names) == set(Options().keywords)
    before = read(conf, text, *words)
    kept = "".join(line + "\n" for line in shown.splitlines() if not line.startswith("config-dir "))
    assert dict(read(conf, kept)) == dict(before)


@pytest.mark.parametrize("value", ["", "a", "a b", '"', "#", "a#", 'a"b', "\\", "a\\ b", "a\tb", " "])
def test_quotation(value: str, conf: Path) -> None:
    """A value that is written as --show writes it is read as the same."""
    assert read(conf, f"listen {quoted(value)}")["listen"] == [value]


def test_every_option_is_a_keyword_or_of_the_command_line(conf: Path) -> None:
    """O-07: the file knows each option of the server; which of them hold at once is said of each that exists."""
    options = {name.rstrip("=") for name in Options().longOpt}
    assert options - set(Options().keywords) == {"config", "check", "show", "help", "version"}
    assert set(Options().keywords) >= RELOADABLE


# Reload


def service_of(conf: Path, text: str) -> Any:
    """Make the service of a file."""
    conf.write_text("port 0\ninterface 127.0.0.1\n" + text)
    options = Options()
    options.parseOptions(["--config-dir", str(conf.parent)])
    return makeService(options, reactor)


def hang_up(service: Any) -> list[str]:
    """Let a service have its SIGHUP, and return what it writes to the log about the configuration."""
    with collecting_log() as logged:
        service._reload()
    return [formatEvent(event) for event in logged]


def bounds_of(service: Any) -> tuple[Any, ...]:
    """Look where the bounds of a service count."""
    factory = service._factory
    admission, user = factory.strangers.admission, factory.portal.realm.user
    return (
        *(factory.options.login_timeout, factory.options.limits.max_channels, factory.options.limits.detach_seconds),
        *(factory.options.limits.keepalive_interval, admission._strangers.maximum, admission._strangers.start),
        *(admission._per_source, factory.strangers._punishes, factory.sessions._max, factory.sessions._max_per_key),
        *(factory.sessions.log_commands, factory.capacity._max_jobs, factory.capacity._max_output),
        *(factory.capacity._max_kept, user._bounds.processes, user._bounds.memory, user._bounds.cpu),
        user._choices.sftp,
    )


ALL = """
login-timeout 7
max-jobs-per-session 8
detach-timeout 9
keepalive 10
max-unauthenticated 60
drop-start 50
max-unauthenticated-per-source 11
no-penalties yes
max-sessions 12
max-sessions-per-key 13
log-commands yes
max-unread-input 33554432
max-unread-output 134217728
max-kept-jobs 14
max-processes-per-job 15
max-memory-per-job 16777216
max-cpu-per-job 17
sftp off
log-level warn
"""
"""A line for each option that can change while the server runs."""


@asynchronous
async def test_all_that_can_change_does(conf: Path) -> None:
    """At SIGHUP each option that can change holds as if the server had been started with it."""
    assert {line.split()[0] for line in ALL.split("\n") if line} == RELOADABLE
    service, wanted = service_of(conf, ""), service_of(conf, ALL)
    assert [one for one, other in zip(bounds_of(service), bounds_of(wanted), strict=True) if one == other] == []
    set_log_level("info")
    (line,) = hang_up(service)
    assert bounds_of(service) == bounds_of(wanted)
    set_log_level("info")
    conf.write_text("port 0\ninterface 127.0.0.1\n")
    (line,) = hang_up(service)
    assert line.startswith(f"{conf} was read again: ")
    assert all(name in line for name in RELOADABLE)
    assert bounds_of(service) == bounds_of(service_of(conf, ""))


UNCHANGED = "port, shell, window, interface changed too"


@asynchronous
async def test_what_cannot_change_is_named(conf: Path) -> None:
    """An option that needs a new start keeps its value at SIGHUP, and the line of the log names it."""
    service = service_of(conf, "")
    before = service._factory.options
    conf.write_text("port 1\nwindow 4096\nshell /bin/sh\nmax-sessions 5\n")
    assert hang_up(service) == [
        f"{conf} was read again: max-sessions changed; {UNCHANGED}, and will hold when the server is started again"
    ]
    after = service._factory.options
    assert (after.port, after.interfaces, after.limits) == (before.port, before.interfaces, before.limits)
    assert after.max_sessions == 5
    # They are told again as long as they differ from what holds.
    (line,) = hang_up(service)
    assert f"nothing that holds at once changed; {UNCHANGED}" in line


@asynchronous
@pytest.mark.parametrize("text", ["max-sessions 0", "nonsense", "max-sessions 5\nmax-sessions 5"])
async def test_a_broken_file_changes_nothing(text: str, conf: Path) -> None:
    """At SIGHUP a file with a mistake leaves everything as it was, and one line of the log has the position."""
    service = service_of(conf, "max-sessions 3\n")
    before = bounds_of(service)
    conf.write_text("login-timeout 7\n" + text)
    (line,) = hang_up(service)
    assert line.startswith(f"the configuration stays as it was: {conf}:")
    assert bounds_of(service) == before


@asynchronous
@pytest.mark.parametrize("kind", BAD_FILES)
async def test_a_file_that_is_not_read_any_more(kind: str, conf: Path) -> None:
    """So does one that another user can write, or that is no file any more."""
    service = service_of(conf, "max-sessions 3\n")
    before = bounds_of(service)
    conf.unlink()
    make, reason = BAD_FILES[kind]
    make(conf)
    (line,) = hang_up(service)
    assert line.startswith("the configuration stays as it was: ")
    assert reason.format(conf=conf) in line
    assert bounds_of(service) == before


@asynchronous
async def test_a_file_that_comes_and_goes(conf: Path) -> None:
    """A file that is made while the server runs counts at SIGHUP, and one that is removed does not any more."""
    options = Options()
    options.parseOptions(["--config-dir", str(conf.parent), "--port", "0"])
    service: Any = makeService(options, reactor)
    assert hang_up(service) == []
    conf.write_text("max-sessions 3\n")
    assert hang_up(service) == [f"{conf} was read again: max-sessions changed"]
    assert service._factory.sessions._max == 3
    conf.unlink()
    assert hang_up(service) == [f"{conf} was read again: max-sessions changed"]
    assert hang_up(service) == []


def test_bounds_of_connections_that_exist() -> None:
    """Other bounds count what there is already: no further connection of a source that has as many."""
    admission = Admission(Draws(), 10, 3)
    assert [admission.admit("192.0.2.1") for _ in range(2)] == [True, True]
    admission.set_bounds(10, 2, 10)
    assert not admission.admit("192.0.2.1")
    admission.leave("192.0.2.1")
    assert admission.admit("192.0.2.1")
    admission.set_bounds(2, 2, 2)
    assert not admission.admit("192.0.2.2")
    admission.set_bounds(3, 2, 3)
    assert admission.admit("192.0.2.2")


class Draws(Random):
    """Draws what turns no connection away that may come in."""

    def random(self) -> float:
        """Return the highest number."""
        return 0.999


@pytest.mark.parametrize("level", LOG_LEVELS)
def test_the_level_of_the_log(level: str) -> None:
    """The log has the lines of the level and of those above it."""
    log = Logger("twisted_rsh.test", observer=leveled_log)
    set_log_level(level)
    with collecting_log() as logged:
        for each in LOG_LEVELS:
            log.emit(LogLevel.levelWithName(each), each)
    assert [formatEvent(event) for event in logged] == list(LOG_LEVELS[LOG_LEVELS.index(level) :])


def test_every_logger_of_the_server_has_the_level() -> None:
    """No logger of the server or of its jobs goes past the level."""
    package = Path(__file__).parents[1] / "twisted_rsh"
    files = [path for folder in ("server", "execution", "trust") for path in (package / folder).rglob("*.py")]
    found = subprocess.run(["grep", "-n", " Logger(", *files], capture_output=True, text=True).stdout.splitlines()
    assert len(found) > 8
    assert [line for line in found if "observer=" not in line and "twisted.internet.tcp" not in line] == []
