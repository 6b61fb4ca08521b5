"""The client's command line: the words that callers of remote shells really pass, and those to refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import twisted_rsh
from twisted_rsh.cli.destination import UsageError
from twisted_rsh.cli.options import ClientOptions, TerminalWish, parse_options, usage_text
from twisted_rsh.core.requests import KILL, Grace, Keep


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of the user who runs the tests counts."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_nothing_means_a_shell_on_this_machine() -> None:
    """Without any word, the defaults hold."""
    assert parse_options([]) == ClientOptions(host="127.0.0.1", port=8082, user=None, command=())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("h", ClientOptions(host="h")),
        ("bob@h ls", ClientOptions(host="h", user="bob", command=("ls",))),
        ("-p 2222 -l bob h ls", ClientOptions(host="h", port=2222, user="bob", command=("ls",))),
        ("-p2222 -lbob h ls", ClientOptions(host="h", port=2222, user="bob", command=("ls",))),
        ("h -p 2222 -n ls -l", ClientOptions(host="h", port=2222, stdin_is_empty=True, command=("ls", "-l"))),
        ("h -- exec perl -X", ClientOptions(host="h", command=("exec", "perl", "-X"))),
        ("h -q -- -odd", ClientOptions(host="h", quiet=True, silent=True, command=("-odd",))),
        (
            "-q -p 1 -l bob -- h scp -t",
            ClientOptions(host="h", port=1, quiet=True, silent=True, user="bob", command=("scp", "-t")),
        ),
        ("-- h -n", ClientOptions(host="h", command=("-n",))),
        ("-- h -- x", ClientOptions(host="h", command=("--", "x"))),
        ("h -", ClientOptions(host="h", command=("-",))),
        ("h ls -- -n", ClientOptions(host="h", command=("ls", "--", "-n"))),
        ("-qn h", ClientOptions(host="h", quiet=True, silent=True, stdin_is_empty=True)),
        ("-vvn h", ClientOptions(host="h", verbosity=2, stdin_is_empty=True)),
        ("-v h -v", ClientOptions(host="h", verbosity=2)),
        ("-qp2222 h", ClientOptions(host="h", port=2222, quiet=True, silent=True)),
        ("-qp 2222 h", ClientOptions(host="h", port=2222, quiet=True, silent=True)),
        ("--timeout 2.5 h", ClientOptions(host="h", timeout=2.5)),
        ("--timeout=5 h", ClientOptions(host="h", timeout=5.0)),
        ("h --encoding=cp936 ls", ClientOptions(host="h", encoding="gbk", command=("ls",))),
        ("-t h", ClientOptions(host="h", terminal=TerminalWish.ASKED)),
        ("-tt h", ClientOptions(host="h", terminal=TerminalWish.ALWAYS)),
        ("-t h -t vim", ClientOptions(host="h", terminal=TerminalWish.ALWAYS, command=("vim",))),
        ("-T h", ClientOptions(host="h", terminal=TerminalWish.NEVER)),
        ("-ttT h", ClientOptions(host="h", terminal=TerminalWish.NEVER)),
        ("-Tt h", ClientOptions(host="h", terminal=TerminalWish.ASKED)),
        ("--max-output 10 h", ClientOptions(host="h", max_output=10)),
        ("--max-output=64K h", ClientOptions(host="h", max_output=65536)),
        ("--max-memory 10m h", ClientOptions(host="h", max_memory=10 * 1024**2)),
        ("--max-memory 2G h", ClientOptions(host="h", max_memory=2 * 1024**3)),
        (f"--max-output {2**63 - 1} h", ClientOptions(host="h", max_output=2**63 - 1)),
        ("--max-cpu 0.5 h", ClientOptions(host="h", max_cpu=0.5)),
        ("--no-resume h", ClientOptions(host="h", no_resume=True)),
        ("--on-disconnect kill h", ClientOptions(host="h", on_disconnect=KILL)),
        ("--on-disconnect=keep h", ClientOptions(host="h", on_disconnect=Keep())),
        ("--on-disconnect grace:2.5 h ls", ClientOptions(host="h", on_disconnect=Grace(2.5), command=("ls",))),
        ("--clean h", ClientOptions(host="h", clean=True)),
        ("--argv h ls", ClientOptions(host="h", argv=True, command=("ls",))),
        ("--fingerprint SHA256:abc= h", ClientOptions(host="h", fingerprint="SHA256:abc=")),
        ("--fingerprint=SHA256:abc= h", ClientOptions(host="h", fingerprint="SHA256:abc=")),
        ("--config-dir /x=y h", ClientOptions(host="h", config_dir="/x=y")),
        ("-V", ClientOptions(show_version=True)),
        ("--version", ClientOptions(show_version=True)),
        ("-h", ClientOptions(show_help=True)),
        ("--help", ClientOptions(show_help=True)),
        ("--", ClientOptions()),
        ("-n --", ClientOptions(stdin_is_empty=True)),
    ],
)
def test_words_are_read_as_ssh_reads_them(line: str, expected: ClientOptions) -> None:
    """Options stand before or after the host, cluster, and take attached values; ``--`` ends them once."""
    assert parse_options(line.split()) == expected


@pytest.mark.parametrize(
    ("word", "host", "port", "user"),
    [
        ("a@b@h", "h", 8082, "a@b"),
        ("h:1", "h", 1, None),
        ("h:65535", "h", 65535, None),
        ("bob@[::1]:99", "::1", 99, "bob"),
        ("[::1]", "::1", 8082, None),
        ("::1", "::1", 8082, None),
        ("fe80::1%eth0", "fe80::1%eth0", 8082, None),
        ("127.0.0.1:80", "127.0.0.1", 80, None),
        ("例え.example", "例え.example", 8082, None),
        ("unix:/run/rsh.sock", "unix:/run/rsh.sock", 8082, None),
        ("bob@unix:/run/a@b:1/x", "unix:/run/a@b:1/x", 8082, "bob"),
        ("a@b@unix:/x", "unix:/x", 8082, "a@b"),
        ("unix:99", "unix", 99, None),
        ("unix", "unix", 8082, None),
        ("ssh://h", "h", 8082, None),
        ("ssh://h/", "h", 8082, None),
        ("ssh://h:", "h", 8082, None),
        ("SSH://bob@h:99/", "h", 99, "bob"),
        ("ssh://bob@[::1]:99", "::1", 99, "bob"),
        ("ssh://[::1]", "::1", 8082, None),
        ("ssh://[fe80::1%25eth0]:99", "fe80::1%eth0", 99, None),
        ("ssh://b%6Fb%40corp@h", "h", 8082, "bob@corp"),
        ("ssh://%E5%AD%97@h", "h", 8082, "字"),
        ("ssh://%65xample.org", "example.org", 8082, None),
    ],
)
def test_host_forms(word: str, host: str, port: int, user: str | None) -> None:
    """A host has a port behind it and a user, up to the last ``@``, before it, also as the URL of ssh."""
    options = parse_options([word, "ls"])
    assert (options.host, options.port, options.user, options.command) == (host, port, user, ("ls",))


def test_password_in_a_url_is_refused_and_not_shown() -> None:
    """C-03: a URL with a password is refused, in a line that does not repeat it."""
    with pytest.raises(UsageError) as caught:
        parse_options(["ssh://bob:secret@h"])
    assert "password" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_url_gives_way_to_options() -> None:
    """The port and the user of options count, as they do for other hosts."""
    options = parse_options("-p 1 -l eve ssh://bob@h:2 ls".split())
    assert (options.port, options.user) == (1, "eve")


def test_empty_command_is_none() -> None:
    """One word without a character is no command, as for ssh; an empty name of a program is not."""
    assert parse_options(["h", ""]) == parse_options(["h"])
    assert parse_options(["-t", "h", "-q", "--", ""]).command == ()
    assert parse_options(["h", "", ""]).command == ("", "")
    assert parse_options(["h", " "]).command == (" ",)
    assert parse_options(["--argv", "h", ""]).command == ("",)


def test_command_words_are_kept_as_they_are() -> None:
    """Spaces, empty words and bytes that are not text reach the command untouched."""
    assert parse_options(["h", "a  b", "", "\udcff", "'q'"]).command == ("a  b", "", "\udcff", "'q'")


def test_first_value_counts() -> None:
    """Of two values for one option, of two ports and of two users, the first counts, as with ssh."""
    assert parse_options("-p 1 -p 2 h:3".split()).port == 1
    assert parse_options("h:3 -p 1".split()).port == 3
    assert parse_options("-l bob al@h".split()).user == "bob"
    assert parse_options("al@h -l bob -l eve".split()).user == "al"
    assert parse_options("--timeout 1 --timeout 2 h".split()).timeout == 1


@pytest.mark.parametrize(
    "words",
    [
        ["-p", "0", "h"],
        ["-p", "65536", "h"],
        ["-p", "+1", "h"],
        ["-p", "²", "h"],
        ["-p", "9" * 5000, "h"],
        ["-p", "", "h"],
        ["-p"],
        ["-l"],
        ["-l", "", "h"],
        ["-l", "-x", "h"],
        ["-l", "a;b", "h"],
        ["-z", "h"],
        ["-n-q", "h"],
        ["-nx\x1b[31m", "h"],
        ["--bogus", "h"],
        ["--time", "5", "h"],
        ["--argv=yes", "h"],
        ["--timeout", "h"],
        ["--timeout"],
        ["--timeout=0", "h"],
        ["--timeout=-1", "h"],
        ["--timeout=nan", "h"],
        ["--timeout=inf", "h"],
        ["--timeout=", "h"],
        ["--no-resume=1", "h"],
        ["--on-disconnect", "h"],
        ["--on-disconnect", "stay", "h"],
        ["--on-disconnect", "grace", "h"],
        ["--on-disconnect", "grace:", "h"],
        ["--on-disconnect", "grace:-1", "h"],
        ["--on-disconnect", "grace:nan", "h"],
        ["--on-disconnect", "kill:1", "h"],
        ["--encoding", "klingon", "h"],
        ["--encoding", "base64", "h"],
        ["--encoding", "a\0b", "h"],
        ["--max-output", "0", "h"],
        ["--max-output", "K", "h"],
        ["--max-output", "-1", "h"],
        ["--max-output", "1T", "h"],
        ["--max-output", "1.5K", "h"],
        ["--max-output", "1 K", "h"],
        ["--max-output", str(2**63), "h"],
        ["--max-memory", f"{2**53}K", "h"],
        ["--max-memory", "", "h"],
        ["--max-memory", "\u0661K", "h"],
        ["--max-cpu", "0", "h"],
        ["--max-cpu", "5s", "h"],
        ["--config-dir=", "h"],
        ["--", "-oProxyCommand=x"],
        ["-"],
        [""],
        ["unix:"],
        ["unix:x/y"],
        ["unix:/a b"],
        ["unix:/$x"],
        ["unix:/x\x1b"],
        ["unix:/" + 107 * "x"],
        ["-o", "ProxyCommand=cat", "unix:/x"],
        ["-o", "HostName=unix:x", "h"],
        ["@h"],
        ["bob@"],
        ["bob@-h"],
        ["h h"],
        ["h\n"],
        ["h\x1b"],
        ["h\u202e"],
        ["\udcff"],
        ["`id`"],
        ["a$b"],
        ["a|b@h"],
        ["h:"],
        ["h:x"],
        ["h:0"],
        ["h:1:2"],
        ["[h]:1"],
        ["[::1"],
        ["[::1]x"],
        ["[::1]:"],
        ["::1%"],
        ["::1%a;b"],
        ["::\0:1"],
        ["ssh://"],
        ["ssh:///"],
        ["ssh://bob@"],
        ["ssh://@h"],
        ["ssh://h/path"],
        ["ssh://h?query"],
        ["ssh://h#fragment"],
        ["ssh://h:0"],
        ["ssh://h:99999"],
        ["ssh://h:%"],
        ["ssh://::1"],
        ["ssh://[::1"],
        ["ssh://a@b@h"],
        ["ssh://bob;x=y@h"],
        ["ssh://bob%3Bid@h"],
        ["ssh://%0Abob@h"],
        ["ssh://b%6@h"],
        ["ssh://b%zz@h"],
        ["ssh://b%@h"],
        ["ssh://b%  @h"],
        ["ssh://%ff@h"],
        ["ssh://\udcff@h"],
        ["ssh://%2DoProxyCommand=x"],
        ["::\u0661"],
    ],
)
def test_refusals_are_one_safe_line(words: list[str]) -> None:
    """C-03: a wrong command line is refused in one printable line."""
    with pytest.raises(UsageError) as caught:
        parse_options(words)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) > 10


def test_usage_shows_every_option_within_79_columns() -> None:
    """The help names each option of the contract, one line each."""
    lines = usage_text().splitlines()
    assert max(map(len, lines)) <= 79
    shown = {word.rstrip(",") for line in lines if line.startswith("  -") for word in line.split()[:2]}
    options = {"-p", "-l", "-t", "-T", "-n", "-q", "-v", "-V", "-h", "--help", "--version"}
    assert shown >= options | {"--timeout", "--encoding", "--argv", "--fingerprint", "--config-dir"}
    assert shown >= {"--max-output", "--max-cpu", "--max-memory"}
    assert usage_text().endswith("\n")


def test_import_does_not_bring_twisted() -> None:
    """A usage error must not wait for Twisted to be imported."""
    program = "import sys, twisted_rsh.cli.options; sys.exit(any(n.split('.')[0] == 'twisted' for n in sys.modules))"
    folder = Path(twisted_rsh.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", program], cwd=folder).returncode == 0


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (None, "/run/agent"),
        ("SSH_AUTH_SOCK", "/run/agent"),
        ("$OTHER_SOCK", "/run/other"),
        ("${OTHER_SOCK}.1", "/run/other.1"),
        ("$EMPTY_SOCK", None),
        ("$NO_SUCH_SOCK", None),
        ("/run/%p", "/run/8082"),
        ("NONE", None),
    ],
)
def test_the_socket_of_the_agent(monkeypatch: pytest.MonkeyPatch, named: str | None, expected: str | None) -> None:
    """``IdentityAgent`` names the socket of the agent, or the variable that does, as with ssh."""
    for name, path in (("SSH_AUTH_SOCK", "/run/agent"), ("OTHER_SOCK", "/run/other"), ("EMPTY_SOCK", "")):
        monkeypatch.setenv(name, path)
    options = [] if named is None else ["-o", f"IdentityAgent={named}"]
    assert parse_options([*options, "h"]).agent == expected
