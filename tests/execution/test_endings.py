"""The endings of jobs: every code, every signal, every refusal, and the order of the last events."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import process as twisted_process
from twisted.internet.defer import gatherResults
from twisted.internet.error import ProcessTerminated
from twisted.internet.task import deferLater
from zope.interface.verify import verifyObject

from tests.execution.owners import (
    PATIENCE,
    RecordingOwner,
    asynchronous,
    check_output,
    open_descriptors,
    reactor,
    run_job,
    start_job,
    until,
)
from twisted_rsh.core.endings import Exited, OutcomeUnknown, RefusalReason, Signalled
from twisted_rsh.core.roles import Stream
from twisted_rsh.execution import job as job_module
from twisted_rsh.execution import plan
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.processes.exits import ending_of
from twisted_rsh.execution.processes.transport import spawn_process
from twisted_rsh.execution.user import LocalUser
from twisted_rsh.interfaces import IJob, IJobOwner, IShellUser, JobRefused

FATAL = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL SEGV PIPE ALRM TERM USR1 USR2 XCPU XFSZ SYS".split()


def refusal(*argv: str, command: str | None = None, cwd: str | None = None) -> tuple[RefusalReason, str]:
    """Start a job that is refused, and return why; its owner is told nothing and no descriptor stays open."""
    owner = RecordingOwner()
    before = open_descriptors()
    with pytest.raises(JobRefused) as caught:
        start_job(owner, *argv, command=command, cwd=cwd)
    assert open_descriptors() == before
    assert not owner.endings
    assert caught.value.text.isprintable()
    return caught.value.reason, caught.value.text


def script(path: Path, text: str) -> str:
    """Write an executable file."""
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture(params=["pidfd", "sigchld", "pidfd fails"])
def notification(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice exits by pidfd, by SIGCHLD, and by SIGCHLD because no descriptor is left for a pidfd."""
    if request.param == "sigchld":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    elif request.param == "pidfd fails":

        def fail(pid: int, flags: int = 0) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(os, "pidfd_open", fail, raising=False)
    elif not hasattr(os, "pidfd_open"):
        pytest.skip("this system has no pidfd")


@pytest.mark.usefixtures("notification")
@pytest.mark.parametrize("code", [0, 1, 42, 126, 127, 254, 255])
@asynchronous
async def test_exit_code(code: int) -> None:
    """X-01: an exit code arrives as it is."""
    owner = await run_job(command=f"exit {code}")
    assert owner.ending == Exited(code)
    assert not owner.held_open


@pytest.mark.parametrize("name", FATAL)
@asynchronous
async def test_fatal_signal(name: str) -> None:
    """X-01: a fatal signal arrives by name."""
    ending = (await run_job(command=f"ulimit -c 0; kill -{name} $$")).ending
    assert ending == Signalled(name)


@asynchronous
async def test_core_dump(tmp_path: Path) -> None:
    """X-01: the ending by a signal tells of a core dump if the system does."""
    command = "ulimit -c unlimited; kill -ABRT $$"
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", f"cd '{tmp_path}'; {command}"], os.environ)
    dumped = os.WCOREDUMP(os.waitpid(pid, 0)[1])
    assert (await run_job(command=command, cwd=str(tmp_path))).ending == Signalled("ABRT", dumped)
    for status, expected in ((signal.SIGSEGV | 0x80, True), (int(signal.SIGSEGV), False)):
        assert ending_of(ProcessTerminated(None, signal.SIGSEGV, status)) == Signalled("SEGV", expected)


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="this system has no real-time signals")
@asynchronous
async def test_signal_without_a_name() -> None:
    """X-01: a signal without a name on the wire is an unknown outcome, not another signal."""
    ending = (await run_job(command=f"kill -{signal.SIGRTMIN + 1} $$")).ending
    assert ending == OutcomeUnknown(f"a signal without a name, number {signal.SIGRTMIN + 1}, ended the job")


def test_missing() -> None:
    """X-02: a missing command is refused, by name and by path."""
    assert refusal("nosuch") == (RefusalReason.NOT_FOUND, "nosuch: command not found")
    assert refusal("./no/such") == (RefusalReason.NOT_FOUND, "./no/such: command not found")


@pytest.mark.parametrize("threads", [1, 2])
def test_missing_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """X-02: a script without its interpreter is refused, with one thread in the server and with several."""
    monkeypatch.setattr(threading, "active_count", lambda: threads)
    path = script(tmp_path / "script", "#!/no/such/interpreter -x\n")
    assert refusal(path, cwd=str(tmp_path)) == (RefusalReason.NOT_FOUND, f"{path}: No such file or directory")
    path = script(tmp_path / "script", "#!/etc/passwd\n")
    assert refusal(path, cwd=str(tmp_path)) == (RefusalReason.NOT_EXECUTABLE, f"{path}: Permission denied")


def test_not_executable(tmp_path: Path) -> None:
    """X-02: a file without permission and a folder are not executable."""
    (tmp_path / "file").touch(0o644)
    assert refusal(str(tmp_path / "file")) == (RefusalReason.NOT_EXECUTABLE, f"{tmp_path}/file: Permission denied")
    assert refusal(str(tmp_path)) == (RefusalReason.NOT_EXECUTABLE, f"{tmp_path}: Is a directory")


def test_not_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """X-02: a file with permission that is no program of this system is not executable."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    (tmp_path / "garbage").write_bytes(b"\x01\x02\0\xff" * 100)
    (tmp_path / "garbage").chmod(0o755)
    reason, text = refusal(str(tmp_path / "garbage"))
    assert (reason, text) == (RefusalReason.NOT_EXECUTABLE, f"{tmp_path}/garbage: Exec format error")


@pytest.mark.parametrize("threads", [1, 2])
@asynchronous
async def test_script_without_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """The standard shell runs a text without ``#!``, as with execvp(3) and in every shell."""
    monkeypatch.setattr(threading, "active_count", lambda: threads)
    path = script(tmp_path / "script", 'echo "$0 $1"; pwd')
    assert await check_output(path, "a b", cwd=str(tmp_path)) == f"{path} a b\n{tmp_path}\n".encode()


def test_bad_cwd() -> None:
    """X-02: a missing working folder is refused."""
    assert refusal("true", cwd="/no/such") == (RefusalReason.BAD_CWD, "/no/such: No such file or directory")


def test_folder_that_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """X-02: a working folder that vanishes after the check is not mistaken for a missing command."""

    def remove_first(*args: Any, **options: Any) -> Any:
        folder.rmdir()
        return spawn_process(*args, **options)

    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setattr(job_module, "spawn_process", remove_first)
    assert refusal("true", cwd=str(folder)) == (RefusalReason.BAD_CWD, f"{folder}: No such file or directory")


def test_long_argument() -> None:
    """X-02: an argument of 200 KiB, beyond our own limit and the system's, is too long."""
    assert refusal("echo", "x" * 200 * 1024)[0] is RefusalReason.TOO_LONG


def test_system_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """X-02: an argument that only the system finds too long is refused as too long."""
    monkeypatch.setattr("twisted_rsh.execution.plan.MAX_REQUEST_BYTES", 1 << 30)
    assert refusal("/bin/echo", "x" * (4 << 20)) == (RefusalReason.TOO_LONG, "/bin/echo: Argument list too long")


def test_nul_in_argument() -> None:
    """X-02: a NUL byte in an argument is refused."""
    assert refusal("echo", "a\0b") == (RefusalReason.BAD_TEXT, "argument 1 contains a NUL byte")


@pytest.mark.parametrize("already_open", [0, 1, 2])
def test_no_descriptors_left(monkeypatch: pytest.MonkeyPatch, already_open: int) -> None:
    """X-02: a job is refused when no descriptor is left for the first, second or third pipe."""
    real = os.pipe
    opened: list[tuple[int, int]] = []

    def pipe() -> tuple[int, int]:
        if len(opened) == already_open:
            raise OSError(errno.EMFILE, "Too many open files")
        opened.append(real())
        return opened[-1]

    monkeypatch.setattr(os, "pipe", pipe)
    assert refusal("true") == (RefusalReason.RESOURCES, refusal("true")[1])


def test_no_processes_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """X-02: the system has no room for another process; every pipe is closed again."""

    def fail(*args: object, **options: object) -> int:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "posix_spawn", fail)
    assert refusal("true")[0] is RefusalReason.RESOURCES


def test_real_descriptor_limit() -> None:
    """X-02: with a real RLIMIT_NOFILE the refusal is about resources, and a job runs again when one is free."""
    code = """if True:
        import os, resource
        from twisted.internet import reactor
        from tests.execution.owners import RecordingOwner, start_job
        from twisted_rsh.interfaces import JobRefused
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        hoard = []
        try:
            while True:
                hoard.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        try:
            start_job(RecordingOwner(), "true")
        except JobRefused as e:
            print(e.reason.value)
        for fd in hoard[:10]:
            os.close(fd)
        owner = RecordingOwner()
        start_job(owner, "echo", "again").end_input()
        owner.finished().addBoth(lambda _: reactor.stop())
        reactor.run()
        print(owner.stdout, owner.ending)
    """
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert result.stderr == ""
    assert result.stdout == "resources\nb'again\\n' Exited(code=0)\n"


@asynchronous
async def test_output_precedes_the_end() -> None:
    """X-04: after several hundred short commands, all output came before the end."""
    for batch in range(40):
        owners = [RecordingOwner() for _ in range(10)]
        for number, owner in enumerate(owners):
            start_job(owner, command=f"echo {batch}.{number}; echo e >&2; exit {number}").end_input()
        await gatherResults([owner.finished() for owner in owners])
        assert [owner.stdout for owner in owners] == [f"{batch}.{number}\n".encode() for number in range(10)]
        assert {owner.stderr for owner in owners} == {b"e\n"}
        assert [owner.ending for owner in owners] == [Exited(number) for number in range(10)]


@asynchronous
async def test_large_output_precedes_the_end() -> None:
    """X-04: output of many reads that is still in the pipe at the exit comes before the end."""
    owner = await run_job(command="head -c 3000000 /dev/zero; head -c 60000 /dev/zero >&2; exit 3")
    assert (len(owner.stdout), len(owner.stderr), owner.ending) == (3000000, 60000, Exited(3))


@asynchronous
async def test_survivor_holds_output() -> None:
    """X-05: a background process that holds the output does not hold the end for longer than a short linger."""
    owner = RecordingOwner()
    start_job(owner, command="sleep 60 & echo $!; exit 7").end_input()
    await owner.when(lambda: owner.stdout.endswith(b"\n"))
    start = reactor.seconds()
    await owner.finished()
    assert owner.ending == Exited(7)
    assert owner.held_open
    assert owner.ended_at - start < 1.5
    os.kill(int(owner.stdout), signal.SIGKILL)


@asynchronous
async def test_survivor_that_writes() -> None:
    """X-05: the output of a background process that never stops writing is closed after a second."""
    owner = RecordingOwner()
    start_job(owner, command="(while echo x; do sleep 0.02; done) 2>/dev/null & exit 7").end_input()
    await owner.finished()
    assert owner.ending == Exited(7)
    assert owner.held_open
    assert set(owner.stdout) == set(b"x\n")


@asynchronous
async def test_survivor_that_finishes(monkeypatch: pytest.MonkeyPatch) -> None:
    """X-05: output of a background process within the linger is delivered; if that ends in time, none is held open."""
    monkeypatch.setattr(job_module, "LINGER_SECONDS", PATIENCE)  # a busy machine may take its time
    monkeypatch.setattr(job_module, "MAX_LINGER_SECONDS", PATIENCE)
    owner = await run_job(command="(sleep 0.05; echo late) & exit 0")
    assert (owner.stdout, owner.held_open) == (b"late\n", False)


@asynchronous
async def test_survivor_and_a_slow_reader() -> None:
    """X-05: bytes that were in the pipe at the exit are delivered, however slow the reader is."""
    owner = RecordingOwner(room=0)
    job = start_job(owner, command="sleep 60 & printf '%s\\n' $!; head -c 5000 /dev/zero; exit 7")
    job.end_input()
    await until(lambda: owner.ended == [Stream.STDERR])
    # stderr, which held no bytes, was closed after its linger; stdout waits for its reader.
    assert owner.stdout == b""
    assert not owner.endings
    while len(owner.stdout) < 5000:
        size = len(owner.stdout)
        owner.give_room(job, 999)
        await owner.more_output(size)
    await owner.finished()
    pid, _, zeros = owner.stdout.partition(b"\n")
    assert zeros == bytes(5000)
    assert owner.held_open
    os.kill(int(pid), signal.SIGKILL)


@asynchronous
async def test_survivor_and_a_reader_that_catches_up() -> None:
    """X-05: the linger applies too when a slow reader has taken all bytes soon after the exit."""
    owner = RecordingOwner(room=0)
    job = start_job(owner, command="sleep 60 & printf $!; exit 7")
    job.end_input()
    await until(lambda: job._process.pid is None)
    owner.give_room(job, 100)
    await owner.finished()
    assert owner.held_open
    os.kill(int(owner.stdout), signal.SIGKILL)


@asynchronous
async def test_survivor_that_writes_to_a_full_window() -> None:
    """X-05: output of a background process after the exit, to a reader without room, is dropped after a second."""
    owner = RecordingOwner(room=0)
    owner.room[Stream.STDERR] = 100
    start_job(owner, command="(sleep 0.05; echo late; exec sleep 60) & echo $! >&2; exit 7").end_input()
    await owner.finished()
    assert (owner.stdout, owner.held_open) == (b"", True)
    os.kill(int(owner.stderr), signal.SIGKILL)


@asynchronous
async def test_output_that_fills_the_window_exactly() -> None:
    """X-04: an output that fills the room exactly ends without room for another byte."""
    owner = RecordingOwner(room=4)
    start_job(owner, command="printf 1234").end_input()
    await owner.finished()
    assert (owner.stdout, owner.ending, owner.held_open) == (b"1234", Exited(0), False)


@asynchronous
async def test_slow_reader_without_survivor() -> None:
    """X-04: the end of a job waits until its reader has taken the last byte."""
    owner = RecordingOwner(room=0)
    job = start_job(owner, command="printf 12345678")
    job.end_input()
    await until(lambda: job._process.pid is None)
    owner.give_room(job, 3)
    await owner.when(lambda: owner.stdout == b"123")
    owner.give_room(job, 5)
    await owner.finished()
    assert (owner.stdout, owner.ending, owner.held_open) == (b"12345678", Exited(0), False)


@asynchronous
async def test_outputs_closed_before_the_exit() -> None:
    """A job that closes its own outputs ends when it exits, not before."""
    owner = RecordingOwner()
    job = start_job(owner, command="exec >&- 2>&-; read line; exit 5")
    await owner.when(lambda: len(owner.ended) == 2)
    assert not owner.endings
    job.write_input(b"go\n")
    await owner.finished()
    assert owner.ending == Exited(5)


@pytest.mark.usefixtures("notification")
@asynchronous
async def test_status_that_another_part_took() -> None:
    """X-06: if another part of the server has waited for the process, the outcome is unknown, never invented."""
    owner = RecordingOwner()
    job = start_job(owner, command="echo x; exit 3")
    pid = job._process.pid
    assert pid is not None
    os.waitpid(pid, 0)
    await owner.finished()
    assert owner.ending == OutcomeUnknown("the exit status was taken by another part of the server")
    assert owner.stdout == b"x\n"


@asynchronous
async def test_status_taken_while_watching(monkeypatch: pytest.MonkeyPatch) -> None:
    """X-06: the outcome is unknown too if the SIGCHLD watch had begun before."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    owner = RecordingOwner()
    job = start_job(owner, command="read line; exit 3")
    pid = job._process.pid
    assert pid is not None
    await until(lambda: pid in twisted_process.reapProcessHandlers)
    await run_job("true")  # its exit makes Twisted look at the other child too
    job.write_input(b"go\n")
    assert owner.consumed == 3
    os.waitpid(pid, 0)
    await owner.finished()
    assert isinstance(owner.ending, OutcomeUnknown)


@asynchronous
async def test_methods_after_the_end() -> None:
    """X-15: after the end every method is a no-op; no signal goes to a number that another process may have."""
    owner = await run_job("true")
    job = start_job(owner2 := RecordingOwner(), "true")
    job.end_input()
    await owner2.finished()
    for _ in range(2):
        job.write_input(b"x")
        job.end_input()
        job.send_signal("KILL")
        job.resume_output(Stream.STDOUT)
        job.close_output(Stream.STDERR)
        job.terminate()
    assert not [call for call in reactor.getDelayedCalls() if "KillLadder" in str(call)]
    assert owner2.ending == owner.ending == Exited(0)


def test_interfaces() -> None:
    """The owner of these tests and the local user provide their interfaces."""
    owner = RecordingOwner()
    assert verifyObject(IJobOwner, owner)
    user = LocalUser(reactor, Account.current(os.environ))
    assert verifyObject(IShellUser, user)


@asynchronous
async def test_job_interface() -> None:
    """A running job provides its interface."""
    owner = RecordingOwner()
    job = start_job(owner, "cat")
    assert verifyObject(IJob, job)
    job.end_input()
    await owner.finished()


@pytest.mark.usefixtures("notification")
@asynchronous
async def test_no_descriptor_leaks() -> None:
    """After 200 jobs, and refused ones in between, no descriptor and no watch is left."""
    await run_job("true")
    before = open_descriptors()
    for number in range(20):
        owners = [RecordingOwner() for _ in range(10)]
        for owner in owners:
            start_job(owner, command=f"echo {number}").end_input()
        with pytest.raises(JobRefused):
            start_job(RecordingOwner(), "nosuch")
        await gatherResults([owner.finished() for owner in owners])
    await deferLater(reactor, 0)  # the turn in which descriptors are closed
    assert open_descriptors() == before
    assert not twisted_process.reapProcessHandlers


def test_reasons_have_distinct_kinds() -> None:
    """The errors of used-up resources, and only these, are refused as such: a client may try again."""
    shortages = {code for code in errno.errorcode if plan.describe_shortage(OSError(code, "text")) is not None}
    assert shortages & plan._REASON_BY_ERRNO.keys() == set()
    assert shortages == {
        errno.EMFILE,
        errno.ENFILE,
        errno.EAGAIN,
        errno.ENOMEM,
        errno.ENOSPC,
    }
