"""``--json`` and ``--status-fd``: one object that tells a program what a person reads from the status and the lines."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import subprocess
import threading
from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.server_process import HOST, ServerProcess, needs_full, one_line
from tests.serving import asynchronous, reactor
from twisted_rsh import Connection
from twisted_rsh.cli import report
from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.report import CollectingOutputs, Report, _ending_members, _result_members
from twisted_rsh.client.result import Result
from twisted_rsh.core.endings import (
    Ending,
    Exited,
    Limit,
    LimitReached,
    OutcomeUnknown,
    RefusalReason,
    Refused,
    ResourceUsage,
    Signalled,
    Stopped,
    TimedOut,
)

real = pytest.mark.real

EXTRA = {"status", "host", "port", "seconds", "stdout_bytes", "stderr_bytes"}
ENDING = {"ending", "exit", "signal", "core_dumped", "timed_out", "limit", "limit_amount", "refusal", "error"}


def test_fields_are_those_of_the_library() -> None:
    """The object has each field of a result, the ending as members of its own, and bytes as text or base64."""
    usage = ResourceUsage(wall=1.0, user=0.5, system=0.25, peak_memory=None)
    result = Result("x", "\u4e2d".encode("gbk"), b"\xff", Exited(3), "gbk", False, usage)
    members = _result_members(result)
    names = {field.name for field in dataclasses.fields(Result)} - {"stderr"}
    assert members.keys() == names | ENDING | {"stderr_base64"}
    assert members["stdout"] == "\u4e2d"
    assert base64.b64decode(members["stderr_base64"]) == b"\xff"
    assert members["usage"] == {"wall": 1.0, "user": 0.5, "system": 0.25, "peak_memory": None}
    json.dumps(members)
    broken = _result_members(dataclasses.replace(result, command="a\udcff"))
    assert (broken["command_base64"], "command" in broken) == ("Yf8=", False)
    broken = _result_members(dataclasses.replace(result, command=("a", "\udcff")))
    assert broken["command_base64"] == ["YQ==", "/w=="]
    unknown = dataclasses.replace(result, encoding="klingon")
    assert "stdout_base64" in _result_members(unknown)


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (Exited(255), {"ending": "exited", "exit": 255}),
        (Signalled("SEGV", True), {"ending": "signalled", "signal": "SEGV", "core_dumped": True}),
        (Stopped("TSTP"), {"ending": "stopped", "signal": "TSTP"}),
        (TimedOut(2.5), {"ending": "timed-out", "timed_out": 2.5}),
        (LimitReached(Limit.OUTPUT, 7), {"ending": "limit", "limit": "output", "limit_amount": 7}),
        (
            Refused(RefusalReason.NOT_FOUND, "no x"),
            {"ending": "refused", "refusal": "not-found", "error": "no x"},
        ),
        (OutcomeUnknown("cut"), {"ending": "unknown", "error": "outcome unknown: cut"}),
    ],
)
def test_endings(ending: Ending, expected: dict[str, Any]) -> None:
    """Each ending has its own name and its own members; the others say nothing."""
    members = _ending_members(ending)
    assert members.keys() == ENDING
    silent = {name: value for name, value in members.items() if name not in expected}
    assert members.items() >= expected.items()
    assert not any(silent.values())


def run_json(server: ServerProcess, *words: str, **options: Any) -> tuple[dict[str, Any], bytes]:
    """Run a client with ``--json``; return its object and its stderr, after checks that hold for every run."""
    done = server.run("--json", *words, **options)
    assert done.stdout.count(b"\n") == 1
    members: dict[str, Any] = json.loads(done.stdout)
    assert members["status"] == done.returncode
    names = {field.name for field in dataclasses.fields(Result)} | ENDING | EXTRA
    assert {name.removesuffix("_base64") for name in members} == names
    return members, done.stderr


@asynchronous
async def test_output_before_a_failure(connection: Connection) -> None:
    """A client that fails before it knows how the command ended tells what has arrived, in the same members."""
    (stdout, _), (stderr, _) = pipes = os.pipe(), os.pipe()
    outputs = CollectingOutputs(reactor, fds=(pipes[0][1], pipes[1][1]))
    one = Report(reactor, ClientOptions(command=("it",), json=True))
    job = connection.start("printf 'a\\377'; echo error >&2")
    one.job_opened(job)
    outputs.show(job)
    await job.wait()
    one.status_known(130, "interrupted", outputs)
    failed = json.loads(one.text())
    assert (failed["ending"], failed["error"], failed["exit"], failed["status"]) == ("failed", "interrupted", None, 130)
    assert (failed["stdout_base64"], failed["stderr"]) == ("Yf8=", "error\n")
    assert (failed["stdout_bytes"], failed["stderr_bytes"]) == (2, 6)
    await one.job_ended()
    one.status_known(0, None, outputs)
    ended = json.loads(one.text())
    assert (ended["ending"], ended["error"], ended.keys()) == ("exited", None, failed.keys())
    outputs.stop()
    for fd in (stdout, stderr, pipes[0][1], pipes[1][1]):
        os.close(fd)


@real
def test_output_and_status(server: ServerProcess) -> None:
    """The output of a command, its status and what it took stand in one object, and nothing else on stdout."""
    members, stderr = run_json(server, HOST, "cat; echo error >&2; exit 255", input="\u4e2d\n".encode())
    assert stderr == b"trsh: exited with 255, reported as 254\n"
    assert (members["stdout"], members["stderr"], members["exit"], members["status"]) == (
        "\u4e2d\n",
        "error\n",
        255,
        254,
    )
    assert (members["stdout_bytes"], members["stderr_bytes"]) == (4, 6)
    assert members["command"] == "cat; echo error >&2; exit 255"
    assert 0 <= members["usage"]["wall"] <= members["seconds"]
    members, _ = run_json(server, HOST, "printf '\\377'")
    assert base64.b64decode(members["stdout_base64"]) == b"\xff"
    members, _ = run_json(server, HOST, "--argv", "printf", "%s|", "a b", "")
    assert (members["command"], members["stdout"]) == (["printf", "%s|", "a b", ""], "a b||")
    members, _ = run_json(server, HOST, input=b"echo script; exit 3")
    assert (members["command"], members["stdout"], members["exit"]) == (None, "script\n", 3)


@real
def test_other_endings(server: ServerProcess) -> None:
    """A signal, a time-out, a limit, a refusal and a failure of the client are five different objects."""
    members, _ = run_json(server, "-q", HOST, "echo before; kill -9 $$")
    assert (members["ending"], members["signal"], members["stdout"]) == ("signalled", "KILL", "before\n")
    members, _ = run_json(server, "--timeout", "0.3", HOST, "echo before; exec sleep 100")
    assert (members["ending"], members["timed_out"], members["stdout"]) == ("timed-out", 0.3, "before\n")
    members, _ = run_json(server, "--max-output", "1000", HOST, "yes")
    assert (members["ending"], members["limit"], members["limit_amount"]) == ("limit", "output", 1000)
    assert members["stdout"] == "y\n" * 500
    members, _ = run_json(server, "--argv", HOST, "no-such-program")
    assert (members["ending"], members["refusal"], members["status"]) == ("refused", "not-found", 127)
    members, stderr = run_json(server, "-oProxyCommand=false", HOST, "true")
    assert (members["ending"], members["status"], members["exit"]) == ("failed", 255, None)
    assert members["error"] == one_line(stderr)
    assert (members["command"], members["stdout"], members["stdout_bytes"]) == ("true", "", 0)


@real
def test_status_descriptor(server: ServerProcess) -> None:
    """``--status-fd`` leaves the streams alone, and has the object without the output."""
    readable, writable = os.pipe()
    done = server.run(
        "--status-fd", str(writable), HOST, "cat; echo error >&2; exit 7", input=b"\xff", pass_fds=[writable]
    )
    os.close(writable)
    with open(readable, "rb") as file:
        text = file.read()
    assert (done.returncode, done.stdout, done.stderr) == (7, b"\xff", b"error\n")
    members = json.loads(text)
    assert text.endswith(b"}\n")
    assert (members["exit"], members["stdout_bytes"], members["stderr_bytes"]) == (7, 1, 6)
    assert not {"stdout", "stderr", "stdout_base64", "command"} & members.keys()


def test_full_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full pipe gets the object when its reader goes on; one that stays full is given up, blocking or not."""
    monkeypatch.setattr(report, "STATUS_SECONDS", 0.05)
    one = Report(Clock(), ClientOptions())
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    filling = os.write(writable, bytes(1 << 20))
    for is_blocking in (False, True):
        os.set_blocking(writable, is_blocking)
        with pytest.raises(TimeoutError, match="takes nothing"):
            one.write_status(writable)
    monkeypatch.setattr(report, "STATUS_SECONDS", 60.0)
    reading = threading.Thread(target=os.read, args=(readable, filling))
    reading.start()
    one.write_status(writable)
    reading.join()
    os.close(writable)
    with open(readable, "rb") as file:
        assert file.read().lstrip(b"\0") == b"{}\n"


@real
def test_descriptors_that_take_nothing(server: ServerProcess) -> None:
    """A reader that has left is none the worse; the command's status stays."""
    readable, writable = os.pipe()
    os.close(readable)
    done = server.run("--status-fd", str(writable), HOST, "exit 7", pass_fds=[writable])
    os.close(writable)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"", b"")


@real
@needs_full
def test_full_disk(server: ServerProcess) -> None:
    """An object that cannot be written is one line, and 255."""
    with open("/dev/full", "wb") as full:
        done = server.run("--json", HOST, "exit 7", stdout=full)
        assert done.returncode == 255
        assert one_line(done.stderr) == "cannot write to stdout: No space left on device"
        words = ("--status-fd", str(full.fileno()))
        done = server.run(*words, HOST, "exit 7", pass_fds=[full.fileno()])
        assert done.returncode == 255
        assert one_line(done.stderr) == f"cannot write to descriptor {full.fileno()}: No space left on device"


@real
def test_console_has_no_object(server: ServerProcess) -> None:
    """On a terminal, where the console would begin, both options are refused."""
    main, side = os.openpty()
    for words in (["--json"], ["--status-fd", "2"]):
        done = subprocess.run(
            server.command(*words, HOST), stdin=side, capture_output=True, env=server.environment, timeout=60
        )
        assert done.returncode == 255
        assert one_line(done.stderr) == f"{words[0]} needs a command, or a script on stdin"
    os.close(main)
    os.close(side)
