"""The command line with ``--hosts``: the grammar, what contradicts itself, and the options of each host."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from twisted_rsh.cli.__main__ import main
from twisted_rsh.cli.arguments import parse_arguments
from twisted_rsh.cli.destination import UsageError
from twisted_rsh.cli.fleet_options import DEFAULT_PARALLEL, MAX_OUTPUT_BYTES, FleetOptions, complete_fleet_options
from twisted_rsh.cli.options import MAX_JSON_OUTPUT_BYTES, complete_options
from twisted_rsh.cli.values import MAX_HOST_COUNT, Share, parse_share
from twisted_rsh.fleet.host_lists import MAX_HOSTS


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the configuration, which no file of the user's is in; another folder is the current one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    tmp_path.chmod(0o700)
    config = tmp_path / "twisted-rsh"
    config.mkdir(mode=0o700)
    return config


def write(path: Path, text: str) -> None:
    """Write a file that its user alone can change."""
    path.write_text(text)
    path.chmod(0o600)


def fleet(line: str) -> FleetOptions:
    """Read a command line."""
    found = parse_arguments(line.split())
    if found.hosts is None:
        complete_options(found)
    return complete_fleet_options(found)


def addresses(line: str) -> list[tuple[str, str | None, str, int]]:
    """Return the name, the user, the host and the port of each host."""
    return [(name, options.user, options.host, options.port) for name, options in fleet(line).hosts]


def test_every_word_is_the_command() -> None:
    """Behind ``--hosts`` no word is a host, and the first that is no option begins the command."""
    options = fleet("--hosts a,b -q --prefix ls -l --json")
    assert [one.command for _, one in options.hosts] == [("ls", "-l", "--json")] * 2
    assert (options.quiet, options.prefix, options.common.json) == (True, True, False)
    assert fleet("--hosts=a -- -x").common.command == ("-x",)


def test_help_beside_hosts(capfd: pytest.CaptureFixture[str]) -> None:
    """A question for help is answered, and no host is dialled."""
    assert main(["--help", "--hosts", "a"]) == 0
    assert capfd.readouterr().out.startswith("Usage: trsh")


def test_defaults() -> None:
    """Unless said otherwise: so many at once, no batches, any number may fail, and a bound for what is kept."""
    options = fleet("--hosts a[1-100] ls")
    assert (options.parallel, options.batch, options.may_fail) == (DEFAULT_PARALLEL, None, None)
    assert options.common.max_output == MAX_OUTPUT_BYTES
    assert fleet("--hosts a --json ls").common.max_output == MAX_OUTPUT_BYTES
    assert fleet("--hosts a --prefix ls").common.max_output is None
    assert fleet("--hosts a --max-output 5 ls").common.max_output == 5
    with pytest.raises(UsageError, match=f"at most {MAX_JSON_OUTPUT_BYTES}"):
        fleet("--hosts a --json --max-output 1G ls")
    assert MAX_HOST_COUNT == MAX_HOSTS


def test_shares() -> None:
    """A number is a number, and a percentage counts all hosts; a batch has one host at least."""
    options = fleet("--hosts a[1-10] --serial 25% --max-fail 10% ls")
    assert (options.batch, options.parallel, options.may_fail) == (2, 2, 1)
    options = fleet("--hosts a[1-10] --serial 5 --parallel 5 --max-fail 0 ls")
    assert (options.batch, options.parallel, options.may_fail, options.fail_fast) == (5, 5, 0, False)
    options = fleet("--hosts a[1-10] --serial 1% --fail-fast ls")
    assert (options.batch, options.may_fail, options.fail_fast) == (1, 0, True)
    assert [parse_share(text) for text in ("0", "100%", "10000")] == [
        Share(0, False),
        Share(100, True),
        Share(10000, False),
    ]
    for text in ("", "%", "101%", "10001", "-1", "1.5", "5%%", "\u0665"):
        with pytest.raises(UsageError):
            parse_share(text)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("--hosts a -t ls", "-t"),
        ("--hosts a -tt ls", "-t"),
        ("--hosts a -oRequestTTY=force ls", "-t"),
        ("--hosts a -N", "-N"),
        ("--hosts a -s sftp", "-s"),
        ("--hosts a -f ls", "-f"),
        ("--hosts a -G", "-G"),
        ("--hosts a -O check", "-O"),
        ("--hosts a -W b:1", "-W"),
        ("--hosts a --clean ls", "--clean"),
        ("--hosts a --status-fd 2 ls", "--status-fd"),
        ("--hosts a --prefix --json ls", "--prefix and --json"),
        ("--hosts a --fail-fast --max-fail 2 ls", "--fail-fast and --max-fail"),
        ("--hosts a[1-10] --serial 2 --parallel 3 ls", "--parallel 3 is more than a batch of --serial, which has 2"),
        ("--hosts a --serial 0 ls", "--serial needs"),
        ("--hosts a --serial 0% ls", "--serial needs"),
        ("--hosts a --parallel 0 ls", "not a number of hosts: '0'"),
        ("--hosts a --parallel 10001 ls", "not a number of hosts"),
        ("--hosts a --argv", "--argv needs a command"),
        ("host --hosts a ls", "a host before it"),
        ("--parallel 3 host ls", "--parallel needs --hosts"),
        ("--serial 3 host ls", "--serial needs --hosts"),
        ("--max-fail 3 host ls", "--max-fail needs --hosts"),
        ("--fail-fast host ls", "--fail-fast needs --hosts"),
        ("--prefix host ls", "--prefix needs --hosts"),
        ("--hosts", "--hosts needs a value"),
        ("--hosts= ls", "--hosts needs a value"),
        ("--hosts @nosuch ls", "--hosts: no such group"),
        ("--hosts a[ ls", "--hosts: a bracket is not closed"),
        ("--hosts a[1-99999] ls", "--hosts: more than 10000 hosts"),
        ("--hosts ./nosuch ls", "cannot read './nosuch'"),
        ("--hosts a,b;id ls", "not a host: 'b;id'"),
        ("--hosts a,$(id) ls", "not a host: '$(id)'"),
        ("--hosts a\x1b[1] ls", "not a host"),
        ("--hosts a,-oProxyCommand=id ls", "not a host"),
        ("--hosts a:x ls", "not a port: 'x'"),
        ("--hosts a --4 ls", "no such option"),
    ],
)
def test_wrong_lines(line: str, part: str) -> None:
    """What contradicts itself, and a name that is none, is one line that names it."""
    with pytest.raises(UsageError) as caught:
        fleet(line)
    assert part in str(caught.value)
    assert str(caught.value).isprintable()


def test_files_and_lists(folder: Path) -> None:
    """A value with a slash, or the name of a file, is a file; a comma makes a list of it; several values add up."""
    Path("hosts").write_text("web[1-2] # front\nbob@db:90\n")
    assert [name for name, _ in fleet("--hosts hosts ls").hosts] == ["web1", "web2", "bob@db:90"]
    assert [name for name, _ in fleet("--hosts ./hosts --hosts x,!web2 ls").hosts] == ["web1", "bob@db:90", "x"]
    assert [name for name, _ in fleet("--hosts hosts, ls").hosts] == ["hosts"]
    Path("hosts").write_text("a\nb[\n")
    with pytest.raises(UsageError, match=r"^--hosts: hosts line 2: a bracket is not closed: 'b\['$"):
        fleet("--hosts hosts ls")
    Path("hosts").write_bytes(2 * (codecs.BOM_UTF8 + b"a\r\n") + b"b\r\n")
    assert [name for name, _ in fleet("--hosts hosts ls").hosts] == ["a", "b"]
    Path("hosts").write_bytes(b"a\xff\n")
    with pytest.raises(UsageError, match="not a host"):
        fleet("--hosts hosts ls")
    write(folder / "groups", "\ufeffweb: web[1-2]\nall: @web, db\n")
    assert [name for name, _ in fleet("--hosts @all ls").hosts] == ["web1", "web2", "db"]
    (folder / "groups").chmod(0o666)
    with pytest.raises(UsageError, match="groups"):
        fleet("--hosts @all ls")


def test_each_host_has_its_own_settings(folder: Path) -> None:
    """The configuration file counts for each host as if it stood alone, and what stands with a host comes first."""
    write(
        folder / "config",
        "Host a\n HostName 10.0.0.1\n Port 91\n User ann\n Timeout 5\nMatch originalhost c exec true\n Port 93\n"
        "Host *\n ProxyCommand nc %h %p\n",
    )
    assert addresses("--hosts a,b,bob@c,d:94 ls") == [
        ("a", "ann", "10.0.0.1", 91),
        ("b", None, "b", 8082),
        ("bob@c", "bob", "c", 93),
        ("d:94", None, "d", 94),
    ]
    assert addresses("-p 99 -l eve --hosts a,bob@b:92 ls") == [
        ("a", "eve", "10.0.0.1", 99),
        ("bob@b:92", "bob", "b", 92),
    ]
    hosts = dict(fleet("--hosts a,b ls").hosts)
    assert [hosts[name].timeout for name in "ab"] == [5.0, None]
    assert [hosts[name].proxy_command for name in "ab"] == ["nc 10.0.0.1 91", "nc b 8082"]


def test_given_file_is_read_once(tmp_path: Path) -> None:
    """A configuration that can be read only once, such as a pipe, counts for all hosts."""
    path = tmp_path / "config"
    path.write_text("Port 95\n")
    known: dict[str, list[str]] = {}
    assert complete_options(parse_arguments(["-F", str(path), "a", "ls"]), known).port == 95
    path.unlink()
    assert complete_options(parse_arguments(["-F", str(path), "b", "ls"]), known).port == 95


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ("Host b\n RemoteCommand id\n", "b: there is a command on the command line"),
        ("Host b\n SessionType none\n", "b: "),
        ("Host b\n ForkAfterAuthentication yes\n", "b: ForkAfterAuthentication"),
        ("Host b\n HostName x;y\n", "config line 2: not a host: 'x;y'"),
        ("Prot 3\n", "line 1: no such keyword: 'Prot'"),
    ],
)
def test_settings_that_contradict(folder: Path, config: str, part: str) -> None:
    """A setting of one host that cannot be is told before anything is begun, with the name of the host."""
    write(folder / "config", config)
    with pytest.raises(UsageError) as caught:
        fleet("--hosts a,b ls")
    assert part in str(caught.value)
