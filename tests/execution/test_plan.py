"""The plan of a job: paths, encoding and limits, without a process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import twisted_rsh
from twisted_rsh.core.endings import RefusalReason
from twisted_rsh.core.limits import (
    MAX_CWD_BYTES,
    MAX_ENVIRONMENT_NAMES,
    MAX_ENVIRONMENT_VALUE_BYTES,
    MAX_REQUEST_BYTES,
)
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.plan import (
    MAX_ESCAPED_BYTES,
    MAX_SHOWN_CHARACTERS,
    check_folder,
    check_program,
    plan_job,
    shown,
)
from twisted_rsh.execution.processes.spawn import SpawnPlan
from twisted_rsh.execution.sftp import SYSTEM_SERVERS
from twisted_rsh.execution.shells.plan import MAX_SCRIPT_QUOTES, command_text
from twisted_rsh.interfaces import JobRefused

HOME = "/home/me"


def account(encoding: str = "utf-8", path: str = "/usr/bin:/bin") -> Account:
    """Return an account that needs no file system."""
    return Account("me", HOME, "/bin/sh", encoding, (("HOME", HOME), ("PATH", path)))


def accept(path: bytes) -> None:
    """Accept every path."""


def only(*paths: str) -> Callable[[bytes], None]:
    """Return a check that accepts these paths; any other does not exist."""

    def check(path: bytes) -> None:
        if os.fsdecode(path) not in paths:
            raise FileNotFoundError(2, "No such file or directory")

    return check


def plan(request: JobRequest, **options: str) -> SpawnPlan:
    """Plan on a system where every program and every folder exists."""
    return plan_job(request, account(**options), program_check=accept, folder_check=accept)


def refusal(request: JobRequest, user: Account | None = None) -> tuple[RefusalReason, str]:
    """Plan on this system, and return the reason and the text of the refusal, one printable line."""
    with pytest.raises(JobRefused) as caught:
        plan_job(request, user or account(), folder_check=accept if request.cwd is None else check_folder)
    assert caught.value.text.isprintable()
    return caught.value.reason, caught.value.text


def test_command() -> None:
    """The shell runs a command string, under its own name."""
    assert plan(JobRequest(command="echo $X", environment=(("X", "1"), ("X", "2")))) == SpawnPlan(
        b"/bin/sh",
        (b"sh", b"-c", b"echo $X"),
        ((b"HOME", b"/home/me"), (b"PATH", b"/usr/bin:/bin"), (b"X", b"2")),
        b"/home/me",
    )


def test_subsystem() -> None:
    """A subsystem that the server does not have is refused by its name, and nothing in the name controls a terminal."""
    reason = RefusalReason.NOT_SUPPORTED
    assert refusal(JobRequest(subsystem="shell")) == (reason, "this server has no subsystem shell")
    assert refusal(JobRequest(subsystem="a\x1b[m")) == (reason, "this server has no subsystem a\\x1b[m")
    with pytest.raises(JobRefused, match="no subsystem sftp"):
        plan_job(JobRequest(subsystem="sftp"), account(), sftp="off", program_check=accept, folder_check=accept)


def sftp(choice: str, *programs: str, encoding: str = "utf-8") -> SpawnPlan:
    """Plan the subsystem ``sftp`` on a system that has some programs, for a job in a folder of its own."""
    request = JobRequest(subsystem="sftp", cwd="sub", environment=(("X", "1"),))
    check = only(sys.executable, *programs)
    return plan_job(request, account(encoding), sftp=choice, program_check=check, folder_check=accept)


@pytest.mark.parametrize("path", SYSTEM_SERVERS)
def test_sftp_of_the_system(path: str) -> None:
    """The system's ``sftp-server`` serves files in the job's folder, with the job's environment."""
    planned = sftp("system", path)
    assert (planned.executable, planned.argv) == (path.encode(), (path.encode(),))
    assert planned.cwd == b"/home/me/sub"
    assert (b"X", b"1") in planned.environment


def test_own_sftp() -> None:
    """Our own server is the choice, or serves where the system has none; no module of the job's folder shadows it."""
    own = sftp("own", *SYSTEM_SERVERS)
    assert own.argv[1:] == (b"-ES", b"-m", b"twisted_rsh.files", b"/home/me/sub")
    assert own.cwd == os.fsencode(Path(twisted_rsh.__file__).parent.parent)
    assert sftp("system") == own
    assert sftp("system", encoding="gbk") == own


def test_chosen_sftp() -> None:
    """A program that was chosen is run as it is called; if it is gone, the line names it."""
    assert sftp("/opt/\udcff", "/opt/\udcff", encoding="gbk").argv == (b"/opt/\xff",)
    with pytest.raises(JobRefused) as caught:
        sftp("/opt/server")
    assert caught.value.reason is RefusalReason.NOT_FOUND
    assert "/opt/server" in caught.value.text


def test_code_page() -> None:
    """Text is encoded in the account's code page; bytes that were no text on the wire stay as they are."""
    planned = plan(JobRequest(argv=("printf", "汉字\udcff"), cwd="目录"), encoding="gbk")
    assert planned.argv == (b"printf", "汉字".encode("gbk") + b"\xff")
    assert planned.cwd == b"/home/me/" + "目录".encode("gbk")


def test_search_path() -> None:
    """X-03: a bare name is looked up in the job's PATH; empty and relative entries never find a program."""
    request = JobRequest(argv=("tool",))
    with pytest.raises(JobRefused):
        plan_job(request, account(path=":.:bin:"), program_check=accept, folder_check=accept)
    found = plan_job(
        request, account(path=":.:bin:/first:/second"), program_check=only("/second/tool"), folder_check=accept
    )
    assert found.executable == b"/second/tool"
    assert found.argv == (b"tool",)


def test_search_path_of_the_job() -> None:
    """X-03: a ``PATH`` in the additions to the environment is where the program is looked up."""
    request = JobRequest(argv=("tool",), environment=(("PATH", "/mine"),))
    assert (
        plan_job(request, account(), program_check=only("/mine/tool"), folder_check=accept).executable == b"/mine/tool"
    )


@pytest.mark.parametrize(("program", "path"), [("./tool", b"/home/me/sub/./tool"), ("/opt/tool", b"/opt/tool")])
def test_name_with_a_slash(program: str, path: bytes) -> None:
    """X-03: a name with a slash is relative to the job's working folder."""
    assert plan(JobRequest(argv=(program,), cwd="sub")).executable == path


def test_first_executable_wins(tmp_path: Path) -> None:
    """A folder and a file without permission are skipped when a later entry has the program."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "tool").mkdir()
    (tmp_path / "b" / "tool").touch(0o644)
    path = ":".join(str(tmp_path / name) for name in ("missing", "a", "b", "c"))
    assert refusal(JobRequest(argv=("tool",)), account(path=path)) == (
        RefusalReason.NOT_EXECUTABLE,
        "tool: Is a directory",
    )
    (tmp_path / "c" / "tool").touch(0o755)
    planned = plan_job(JobRequest(argv=("tool",)), account(path=path), folder_check=accept)
    assert planned.executable == os.fsencode(tmp_path / "c" / "tool")


def test_checks_of_the_real_system(tmp_path: Path) -> None:
    """Both checks raise a distinct error for each kind of path."""
    (tmp_path / "file").touch(0o644)
    file, missing = os.fsencode(tmp_path / "file"), os.fsencode(tmp_path / "missing")
    check_program(b"/bin/sh")
    check_folder(os.fsencode(tmp_path))
    for path, expected in ((file, PermissionError), (b"/", IsADirectoryError), (missing, FileNotFoundError)):
        with pytest.raises(expected):
            check_program(path)
    with pytest.raises(PermissionError):
        check_program(b"/dev/null")
    with pytest.raises(NotADirectoryError):
        check_folder(file)
    with pytest.raises(FileNotFoundError):
        check_folder(missing)


def test_forbidden_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may not be entered is refused; the check is faked, since root may enter any."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError):
        check_folder(b"/")


def test_home_that_is_missing() -> None:
    """If the home folder is missing, a job that asked for no folder starts in the root folder."""
    request = JobRequest(argv=("true",))
    assert plan_job(request, account(), program_check=accept, folder_check=only()).cwd == b"/"


@pytest.mark.parametrize(
    ("cwd", "text"),
    [("/missing\n", "/missing\\n: No such file or directory"), ("/dev/null", "/dev/null: Not a directory")],
)
def test_bad_cwd(cwd: str, text: str) -> None:
    """X-02: a working folder that is missing or no folder has a refusal of its own, in one line."""
    assert refusal(JobRequest(argv=("true",), cwd=cwd)) == (RefusalReason.BAD_CWD, text)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (JobRequest(argv=("echo", "a\0b")), "argument 1 contains a NUL byte"),
        (JobRequest(argv=("ec\0ho",)), "the name of the program contains a NUL byte"),
        (JobRequest(argv=("",)), "the name of the program is empty"),
        (JobRequest(command=""), "the command is empty"),
        (JobRequest(command="a\0"), "the command contains a NUL byte"),
        (JobRequest(command="a", cwd="\0"), "the working folder contains a NUL byte"),
        (JobRequest(command="a", environment=(("", "x"),)), "the name of an environment variable is empty"),
        (
            JobRequest(command="a", environment=(("A=", "x"),)),
            "the environment variable A= has an equals sign in its name",
        ),
        (JobRequest(command="a", environment=(("A", "\0"),)), "the environment variable A contains a NUL byte"),
        (
            JobRequest(command="a", environment=(("A\0", "x"),)),
            "the name of the environment variable A\\x00 contains a NUL byte",
        ),
    ],
)
def test_bad_text(request_: JobRequest, text: str) -> None:
    """X-02: the refusal of a text that no program can get names its part of the request."""
    assert refusal(request_) == (RefusalReason.BAD_TEXT, text)


def test_unencodable_character() -> None:
    """X-02: a character that the code page lacks is refused by name, never replaced."""
    assert refusal(JobRequest(argv=("echo", "naïve \U0001f600")), account("iso8859-1")) == (
        RefusalReason.BAD_TEXT,
        "argument 1 contains \U0001f600, which the server's code page iso8859-1 cannot express",
    )


def test_request_size() -> None:
    """X-02: command, arguments and environment together are allowed up to the bound, with their terminators."""
    size = MAX_REQUEST_BYTES - len("A=1\0")
    assert plan(JobRequest(command="x" * (size - 1), environment=(("A", "1"),)))
    assert plan(JobRequest(argv=("x", "y" * (size - 3)), environment=(("A", "1"),)))
    reason, text = refusal(JobRequest(command="x" * size, environment=(("A", "1"),)))
    assert reason is RefusalReason.TOO_LONG
    assert text == "the command and its environment take 131073 bytes; at most 131072 are allowed"
    reason, text = refusal(JobRequest(argv=("x", "y" * (size - 2)), environment=(("A", "1"),)))
    assert text.startswith("the argument vector and its environment take 131073 bytes")


def test_other_sizes() -> None:
    """X-02: folder, value and number of names are each allowed up to the bound and refused one past it."""
    assert plan(JobRequest(command="x", cwd="/" * MAX_CWD_BYTES))
    assert refusal(JobRequest(command="x", cwd="/" * (MAX_CWD_BYTES + 1))) == (
        RefusalReason.TOO_LONG,
        "the working folder has 4097 bytes; at most 4096 are allowed",
    )
    value = "v" * MAX_ENVIRONMENT_VALUE_BYTES
    assert plan(JobRequest(command="x", environment=(("A", value),)))
    assert refusal(JobRequest(command="x", environment=(("A", value + "v"),))) == (
        RefusalReason.TOO_LONG,
        "the environment variable A has 4097 bytes; at most 4096 are allowed",
    )
    names = tuple((f"N{i}", "") for i in range(MAX_ENVIRONMENT_NAMES + 1))
    assert plan(JobRequest(command="x", environment=names[:-1]))
    assert refusal(JobRequest(command="x", environment=names)) == (
        RefusalReason.TOO_LONG,
        "1025 environment variables; at most 1024 are allowed",
    )


def test_shown() -> None:
    """A repeated name is printable and short."""
    assert shown("a\x1b\n汉\udcff") == "a\\x1b\\n汉\\udcff"
    assert shown("x" * MAX_SHOWN_CHARACTERS) == "x" * MAX_SHOWN_CHARACTERS
    assert shown("x" * (MAX_SHOWN_CHARACTERS + 1)) == "x" * (MAX_SHOWN_CHARACTERS - 3) + "..."


@pytest.mark.parametrize("encoding", ["gbk", "cp1252", "shift_jis"])
def test_bytes_that_are_no_text_are_bounded(encoding: str) -> None:
    """A code page whose codec asks about each such byte takes a bounded number of them, in all texts together."""
    half = "\udcff" * (MAX_ESCAPED_BYTES // 2)
    request = JobRequest(argv=("true", half), environment=(("A", half[:4096]), ("B", half[4096:])))
    assert plan(request, encoding=encoding).argv[1] == b"\xff" * len(half)
    beyond = JobRequest(argv=("true", half, half, "\udcff"))
    with pytest.raises(JobRefused) as caught:
        plan(beyond, encoding=encoding)
    assert caught.value.reason is RefusalReason.TOO_LONG
    assert f"{MAX_ESCAPED_BYTES} are allowed" in caught.value.text
    assert plan(beyond).argv[3] == b"\xff"


def test_quotes_in_a_script_are_bounded() -> None:
    """A script has as many single quotes as the server writes in 10 ms, and one more is too many."""
    assert command_text(JobRequest(command="'" * MAX_SCRIPT_QUOTES), "utf-8") == b"'" * MAX_SCRIPT_QUOTES
    with pytest.raises(JobRefused) as caught:
        command_text(JobRequest(command="'" * (MAX_SCRIPT_QUOTES + 1)), "utf-8")
    assert caught.value.reason is RefusalReason.TOO_LONG
