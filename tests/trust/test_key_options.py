"""Options of keys: sshd's language, and what is refused in it."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_rsh.core.limits import MAX_ENVIRONMENT_VALUE_BYTES, MAX_OFFSET
from twisted_rsh.trust.addresses import MAX_ADDRESS_PATTERNS, parse_addresses
from twisted_rsh.trust.key_options import (
    MAX_COUNT,
    MAX_CPU_SECONDS,
    MIN_MEMORY_BYTES,
    BadOptions,
    KeyOptions,
    end_of_options,
    parse_options,
)
from twisted_rsh.trust.policy import UNRESTRICTED, KeyPolicy

RESTRICTED = KeyPolicy(has_terminals=False, accepted_environment=())


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("pty", UNRESTRICTED),
        ("no-pty", KeyPolicy(has_terminals=False)),
        ("restrict", RESTRICTED),
        ("RESTRICT,No-Agent-Forwarding", RESTRICTED),
        ("restrict,pty", KeyPolicy(accepted_environment=())),
        ("pty,restrict", RESTRICTED),
        ("no-pty,restrict", RESTRICTED),
        ("no-port-forwarding,no-agent-forwarding,no-X11-forwarding,no-user-rc", UNRESTRICTED),
        ("restrict,port-forwarding,agent-forwarding,X11-forwarding,user-rc", RESTRICTED),
        ("observer", KeyPolicy(is_observer=True, accepted_environment=())),
        ('command="date"', KeyPolicy(command="date", accepted_environment=())),
        (r'command="echo \"a, b\" \\ \n"', KeyPolicy(command=r'echo "a, b" \\ \n', accepted_environment=())),
        ('command="date",accept-env="LANG,LC_*"', KeyPolicy(command="date", accepted_environment=("LANG", "LC_*"))),
        ('accept-env="A?"', KeyPolicy(accepted_environment=("A?",))),
        ('environment="A=1",environment="B=x=,y"', KeyPolicy(environment=(("A", "1"), ("B", "x=,y")))),
        ('environment="A="', KeyPolicy(environment=(("A", ""),))),
        ('from="10.0.0.0/8,!10.0.0.1"', KeyPolicy(sources=parse_addresses("10.0.0.0/8,!10.0.0.1"))),
        ('max-jobs="1",max-sessions="2",max-processes="3"', KeyPolicy(max_jobs=1, max_sessions=2, max_processes=3)),
        ('max-output="1",max-memory="1M",max-cpu="60"', KeyPolicy(max_output=1, max_memory=2**20, max_cpu=60)),
        ('max-output="4K"', KeyPolicy(max_output=4096)),
        ('max-memory="2G"', KeyPolicy(max_memory=2**31)),
    ],
)
def test_options(text: str, policy: KeyPolicy) -> None:
    """Each option means what sshd's manual, or this server's, says."""
    assert parse_options(text) == KeyOptions(policy)


def test_authority() -> None:
    """A certificate authority has principals and the policy of what it certifies."""
    options = parse_options('cert-authority,principals="a,b",no-pty')
    assert options == KeyOptions(KeyPolicy(has_terminals=False), is_authority=True, principals=("a", "b"))
    assert parse_options("cert-authority").principals is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no option"),
        ("no-pty,", "is no option"),
        (",no-pty", "is no option"),
        ("no-pty no-pty", "is no option"),
        ("restrict\r", "is no option"),
        ("\x1b", "is no option"),
        ("x=y", "is no option"),
        ('command="x', "is no option"),
        (r'command="x\"', "is no option"),
        (r'command="x\",no-pty', "is no option"),
        ('command="x"y', "is no option"),
        ('command="x""y"', "is no option"),
        ("command=date", "is no option"),
        ("no-such-option", "is not known"),
        ('no-such-option="x"', "is not known"),
        ("no-restrict", "is not known"),
        ("no-command", "is not known"),
        ("verify-required", "is not known"),
        ("no-touch-required", "is not known"),
        ('tunnel="0"', "is not known"),
        ('permitopen="x:1"', "is not known"),
        ("command", "needs a value"),
        ('no-pty="x"', "takes no value"),
        ("no-pty,no-pty", "twice"),
        ("no-pty,pty", "twice"),
        ("no-pty,NO-PTY", "twice"),
        ("restrict,pty,pty", "twice"),
        ("pty,restrict,pty", "twice"),
        ("port-forwarding,no-port-forwarding", "twice"),
        ('command="a",command="a"', "twice"),
        ('from="10.0.0.1",from="10.0.0.2"', "twice"),
        ('environment="A=1",environment="A=1"', "twice"),
        ('command=""', "is empty"),
        ('command=" "', "is empty"),
        ('observer,command="x"', "against each other"),
        ('principals="a"', "is for a cert-authority"),
        ('cert-authority,principals="a,,b"', "empty name"),
        ('environment="A"', "NAME=value"),
        ('environment="=1"', "NAME=value"),
        ('environment="1A=1"', "NAME=value"),
        ('environment="A-B=1"', "NAME=value"),
        (f'environment="A={"x" * (MAX_ENVIRONMENT_VALUE_BYTES + 1)}"', "has more than"),
        ('accept-env=""', "no name"),
        ('accept-env="A,"', "no name"),
        ('accept-env="A B"', "no name"),
        ('accept-env="[A]"', "no name"),
        ('from=""', "no address"),
        ('max-jobs="0"', "whole number"),
        (f'max-jobs="{MAX_COUNT + 1}"', "whole number"),
        ('max-jobs="-1"', "whole number"),
        ('max-jobs="1.5"', "whole number"),
        ('max-jobs="\u0661"', "whole number"),
        ('max-jobs="' + "0" * 9000 + '1"', "whole number"),
        (f'max-cpu="{MAX_CPU_SECONDS + 1}"', "whole number"),
        ('max-output="0"', "number of bytes"),
        ('max-output="1k"', "number of bytes"),
        (f'max-output="{MAX_OFFSET + 1}"', "number of bytes"),
        (f'max-memory="{MIN_MEMORY_BYTES - 1}"', "number of bytes"),
    ],
)
def test_wrong_options(text: str, reason: str) -> None:
    """A-14: what is not understood, is there twice or has a wrong value is refused in one printable line."""
    with pytest.raises(BadOptions, match=reason) as caught:
        parse_options(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "text",
    [
        f'max-jobs="{MAX_COUNT}"',
        f'max-cpu="{MAX_CPU_SECONDS}"',
        f'max-output="{MAX_OFFSET}"',
        f'max-memory="{MIN_MEMORY_BYTES}"',
        f'environment="A={"x" * MAX_ENVIRONMENT_VALUE_BYTES}"',
        'from="' + ",".join(["10.0.0.1"] * MAX_ADDRESS_PATTERNS) + '"',
    ],
)
def test_bounds(text: str) -> None:
    """A value at its bound is accepted."""
    assert parse_options(text)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("20300102Z", dt.datetime(2030, 1, 2, tzinfo=dt.timezone.utc)),
        ("203001020304Z", dt.datetime(2030, 1, 2, 3, 4, tzinfo=dt.timezone.utc)),
        ("20300102030405Z", dt.datetime(2030, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc)),
        ("20240229Z", dt.datetime(2024, 2, 29, tzinfo=dt.timezone.utc)),
    ],
)
def test_expiry_time(text: str, when: dt.datetime) -> None:
    """A time with a Z is one of UTC."""
    assert parse_options(f'expiry-time="{text}"').policy.expires == when.timestamp()


def test_local_expiry_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A time without a Z is one of this machine's time zone."""
    monkeypatch.setenv("TZ", "XYZ-5")  # five hours east
    time.tzset()
    try:
        local = parse_options('expiry-time="20300102"').policy.expires
    finally:
        monkeypatch.undo()
        time.tzset()
    assert local == dt.datetime(2030, 1, 1, 19, tzinfo=dt.timezone.utc).timestamp()


@pytest.mark.parametrize(
    "text",
    ["", "2030", "20301301Z", "20230229Z", "2030010224Z", "203001022400Z", "20300102z", "20300102UTC", "00000101Z"],
)
def test_wrong_expiry_time(text: str) -> None:
    """A date that does not exist, or another form, is refused."""
    with pytest.raises(BadOptions):
        parse_options(f'expiry-time="{text}"')


@pytest.mark.parametrize(
    ("line", "end"),
    [
        (b"no-pty x", 6),
        (b'command="a b"\tx', 13),
        (rb'command="a \" b" x', 16),
        (rb'command="a \\" b" x', 17),
        (rb"\" x", 2),
        (b'command="a b', 8),
        (b"", 0),
    ],
)
def test_end_of_options(line: bytes, end: int) -> None:
    """The options end at the first blank outside of quotes, where a quote behind a backslash is none."""
    assert end_of_options(line) == end


PATTERNS: list[tuple[str, list[str], list[str]]] = [
    ("192.0.2.1", ["192.0.2.1", "::ffff:192.0.2.1"], ["192.0.2.10", "", "a local socket", "192.0.2.1 "]),
    ("192.0.2.0/24,!192.0.2.7", ["192.0.2.6"], ["192.0.2.7", "192.0.3.1", "::1", "::ffff:192.0.2.7"]),
    ("!192.0.2.7", [], ["192.0.2.7", "192.0.2.8"]),
    ("!192.0.2.7,*", ["192.0.2.8", "2001:db8::1"], ["192.0.2.7", "not an address"]),
    ("192.0.?.*", ["192.0.2.255"], ["192.0.22.1"]),
    ("2001:db8::/32", ["2001:db8::1", "2001:DB8:0:0::1", "2001:db8::1%eth0"], ["2001:db9::1"]),
    ("2001:DB8::*", ["2001:db8::9"], ["2001:db8:1::9"]),
    ("fe80::1", ["fe80::1%eth0"], ["fe80::2"]),
    ("0.0.0.0/0", ["192.0.2.1"], ["::1"]),
]


@pytest.mark.parametrize(("text", "inside", "outside"), PATTERNS)
def test_addresses(text: str, inside: list[str], outside: list[str]) -> None:
    """A list has the addresses that one pattern matches, and no pattern behind a ``!``."""
    addresses = parse_addresses(text)
    assert [address for address in inside if not addresses.contains(address)] == []
    assert [address for address in outside if addresses.contains(address)] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "10.0.0.1,",
        "!",
        "!!10.0.0.1",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0",
        "host.example.org",
        "*.example.org",
        "10.0.0.1 ",
        "[0-9]*",
        "::ffff:10.0.0.1",
        "::ffff:0:0/96",
        "١*",
        ",".join(["1.1.1.1"] * (MAX_ADDRESS_PATTERNS + 1)),
    ],
)
def test_wrong_addresses(text: str) -> None:
    """Names, networks with bits of a host, and anything that could match nothing are refused."""
    with pytest.raises(ValueError, match="has"):
        parse_addresses(text)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.lists(
        st.sampled_from(["no-pty", "restrict", ",", '"', "\\", "=", "command", "from", "1", " ", "\x1b", "\udcff"])
    )
)
def test_any_options(pieces: list[str]) -> None:
    """Any text gives options or one printable line."""
    try:
        parse_options("".join(pieces))
    except BadOptions as problem:
        assert str(problem).isprintable()


def kept(policy: KeyPolicy) -> dict[str, Any]:
    """Return the fields that are not those of an unrestricted key."""
    names = [name for name in KeyPolicy.__slots__ if getattr(policy, name) != getattr(UNRESTRICTED, name)]
    return {name: getattr(policy, name) for name in names}


def test_every_option_restricts() -> None:
    """No option widens what a key may do: each is no less than none only where it says nothing."""
    for text in ("no-pty", "restrict", "observer", 'command="x"', 'accept-env="A"', 'max-jobs="1"', 'max-cpu="1"'):
        policy = parse_options(text).policy
        assert kept(policy)
        assert not policy.allows_no_less_than(UNRESTRICTED)
        assert UNRESTRICTED.allows_no_less_than(policy)
