"""What a key may do: the request that runs in place of a client's, and which policy is stricter than another."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from twisted_rsh.core.endings import RefusalReason
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.interfaces import JobRefused
from twisted_rsh.trust.addresses import parse_addresses
from twisted_rsh.trust.policy import ORIGINAL_COMMAND_NAMES, UNRESTRICTED, KeyPolicy

FORCED = KeyPolicy(command="forced", accepted_environment=())


def original(text: str) -> dict[str, str]:
    """Return the variables of a forced command."""
    return dict.fromkeys(ORIGINAL_COMMAND_NAMES, text)


@pytest.mark.parametrize(
    ("request_", "asked"),
    [
        (JobRequest(command="rsync --server . '/x y'"), "rsync --server . '/x y'"),
        (JobRequest(argv=("ls", "a b", "it's", "")), "ls 'a b' 'it'\"'\"'s' ''"),
        (JobRequest(subsystem="sftp"), "sftp"),
        (JobRequest(command="\udcff\n"), "\udcff\n"),
    ],
)
def test_forced_command(request_: JobRequest, asked: str) -> None:
    """A forced command runs whatever the client asks for, in the home folder, and finds that in two variables."""
    for request in (request_, dataclasses.replace(request_, cwd="/tmp", environment=(("PATH", "/x"),))):
        run = FORCED.narrow(request)
        assert (run.command, run.argv, run.subsystem, run.shell, run.cwd) == ("forced", None, None, None, None)
        assert dict(run.environment) == original(asked)


def test_what_stays_of_a_request() -> None:
    """A forced command has the client's time-out, limits and grace."""
    request = JobRequest(command="x", timeout=1.0, max_output=2, max_cpu=3.0, max_memory=4)
    run = FORCED.narrow(request)
    assert run == dataclasses.replace(request, command="forced", environment=tuple(original("x").items()))


def test_no_shell_beside_a_forced_command() -> None:
    """A key with a forced command has no persistent shell, in which it could type any other."""
    with pytest.raises(JobRefused, match="one command only") as refused:
        FORCED.narrow(JobRequest(shell=""))
    assert refused.value.reason is RefusalReason.NOT_PERMITTED


@pytest.mark.parametrize("request_", [JobRequest(command="x"), JobRequest(shell=""), JobRequest(argv=("x",))])
def test_no_terminal(request_: JobRequest) -> None:
    """A key without terminals may run everything on pipes, and nothing on a terminal."""
    policy = KeyPolicy(has_terminals=False)
    assert policy.narrow(request_) == request_
    for each in (policy, dataclasses.replace(policy, command="forced")):
        with pytest.raises(JobRefused, match="no-pty") as refused:
            each.narrow(dataclasses.replace(request_, terminal=Terminal()))
        assert refused.value.reason is RefusalReason.NO_TERMINAL


ENVIRONMENT = (
    ("LANG", "C"),
    ("LC_ALL", "C"),
    ("XLC_ALL", "C"),
    ("LD_PRELOAD", "x"),
    ("lang", "C"),
    ("SET", "client's"),
)


@pytest.mark.parametrize(
    ("accepted", "names"),
    [
        (None, ["LANG", "LC_ALL", "XLC_ALL", "LD_PRELOAD", "lang", "SET"]),
        ((), []),
        (("LANG", "LC_*"), ["LANG", "LC_ALL"]),
        (("L?NG",), ["LANG"]),
        (("SET", "SSH_*"), ["SET"]),
    ],
)
@pytest.mark.parametrize("form", [{"command": "x"}, {"argv": ("x",)}, {"shell": ""}, {"subsystem": "sftp"}])
def test_environment(accepted: tuple[str, ...] | None, names: list[str], form: dict[str, Any]) -> None:
    """A job gets of the client's variables those that are accepted, and the key's own in any case."""
    policy = KeyPolicy(accepted_environment=accepted, environment=(("SET", "key's"),))
    run = policy.narrow(JobRequest(environment=ENVIRONMENT, **form))
    assert dict(run.environment) == {name: dict(ENVIRONMENT)[name] for name in names} | {"SET": "key's"}


def test_variables_of_the_forced_command() -> None:
    """Neither the client nor the key changes what a forced command finds of the client's wish."""
    policy = KeyPolicy(command="forced", environment=(("SSH_ORIGINAL_COMMAND", "y"),))
    asked = JobRequest(command="x", environment=(("TWISTED_RSH_ORIGINAL_COMMAND", "z"), ("A", "1")))
    assert dict(policy.narrow(asked).environment) == original("x") | {"A": "1"}


@pytest.mark.parametrize(("asked", "least"), [(None, 10), (9, 9), (10, 10), (11, 10)])
@pytest.mark.parametrize("form", [{"command": "x"}, {"command": "x", "in_shell": 1}, {"shell": ""}])
def test_output(asked: int | None, least: int, form: dict[str, Any]) -> None:
    """The smaller limit of output holds, also for a command in a persistent shell."""
    assert KeyPolicy(max_output=10).narrow(JobRequest(max_output=asked, **form)).max_output == least


def test_command_in_a_shell() -> None:
    """A command in a persistent shell stays as it is: the shell has what its key allows."""
    request = JobRequest(command="x", in_shell=1)
    assert KeyPolicy(has_terminals=False, environment=(("A", "1"),)).narrow(request) is request


STRICTER: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"command": "x"}),
    ({"command": "x"}, {"command": "y"}),
    ({}, {"is_observer": True}),
    ({}, {"has_terminals": False}),
    ({}, {"accepted_environment": ("A",)}),
    ({"accepted_environment": ("A", "B")}, {"accepted_environment": ("A",)}),
    *[({}, {name: 5}) for name in KeyPolicy.__slots__ if name.startswith("max_")],
    *[({name: 6}, {name: 5}) for name in KeyPolicy.__slots__ if name.startswith("max_")],
]


@pytest.mark.parametrize(("before", "after"), STRICTER)
def test_stricter(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Each field can make a policy stricter; the same one is no stricter."""
    one, other = KeyPolicy(**before), KeyPolicy(**after)
    assert not other.allows_no_less_than(one)
    assert one.allows_no_less_than(one)
    assert other.allows_no_less_than(other)
    if "y" not in after.values():
        assert one.allows_no_less_than(other)


def test_what_does_not_count() -> None:
    """Where and when a key may log in, and what it gives to jobs, make no policy stricter."""
    policy = KeyPolicy(expires=1.0, sources=parse_addresses("::1"), environment=(("A", "1"),))
    assert policy.allows_no_less_than(UNRESTRICTED)


@pytest.mark.parametrize(("now", "is_over"), [(99.0, False), (100.0, False), (100.001, True)])
def test_expiry(now: float, is_over: bool) -> None:
    """A key may log in up to its last second, and not behind it."""
    policy = KeyPolicy(expires=100.0)
    assert policy.is_over(now) is is_over
    assert (policy.why_not("", now) is not None) is is_over


def test_sources() -> None:
    """A client without an address is in no list of addresses."""
    policy = KeyPolicy(sources=parse_addresses("*"))
    assert policy.why_not("192.0.2.1", 0.0) is None
    assert policy.why_not("", 0.0) == "from= does not allow a client without an IP address"
    assert UNRESTRICTED.why_not("", 0.0) is None
