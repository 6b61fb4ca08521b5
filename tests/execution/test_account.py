"""The account that jobs run as, and the environment that they start from."""

from __future__ import annotations

import locale
import os
import pwd

import pytest

from twisted_rsh.execution.account import DEFAULT_PATH, DEFAULT_SHELL, Account


def test_environment_is_built_from_an_allow_list() -> None:
    """X-13: the exact environment of a job; a canary among the server's variables is absent."""
    environ = {
        "PATH": "/somewhere",
        "LANG": "C.UTF-8",
        "LC_ALL": "C",
        "TZ": "UTC",
        "LANGUAGE": "de",
        "CANARY": "secret",
        "LD_PRELOAD": "/evil.so",
        "HOME": "/not/this",
    }
    account = Account.current(environ, shell="/bin/sh")  # noqa: S604 - a path, not a flag
    entry = pwd.getpwuid(os.getuid())
    assert dict(account.environment) == {
        "PATH": "/somewhere",
        "LANG": "C.UTF-8",
        "LC_ALL": "C",
        "TZ": "UTC",
        "LANGUAGE": "de",
        "HOME": entry.pw_dir,
        "USER": entry.pw_name,
        "LOGNAME": entry.pw_name,
        "SHELL": "/bin/sh",
    }
    assert (account.name, account.home, account.shell) == (entry.pw_name, entry.pw_dir, "/bin/sh")


def test_default_path() -> None:
    """A server without a PATH gives its jobs the standard one."""
    assert dict(Account.current({}).environment)["PATH"] == DEFAULT_PATH


def test_account_names_the_shell() -> None:
    """Without an option, the shell is the account's own."""
    assert Account.current({}).shell == (pwd.getpwuid(os.getuid()).pw_shell or DEFAULT_SHELL)


@pytest.mark.parametrize(
    ("environ", "name", "home"),
    [({"USER": "me", "HOME": "/me"}, "me", "/me"), ({"HOME": "relative"}, None, "/"), ({}, None, "/")],
)
def test_nameless_uid(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], name: str | None, home: str) -> None:
    """A uid without an account, as in a container, is known by the environment or by its number."""

    def no_entry(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    account = Account.current(environ)
    assert (account.name, account.home, account.shell) == (name or str(os.getuid()), home, DEFAULT_SHELL)


def test_relative_shell() -> None:
    """A shell that would be looked for somewhere is no shell."""
    with pytest.raises(ValueError, match="absolute path, not 'bash'"):
        Account.current({}, shell="bash")  # noqa: S604 - a name, not a flag


@pytest.mark.parametrize(("option", "name"), [("UTF8", "utf-8"), ("GBK", "gbk"), ("latin1", "iso8859-1")])
def test_encoding_option(option: str, name: str) -> None:
    """An encoding is known by the name that Python gives it."""
    assert Account.current({}, encoding=option).encoding == name


def test_encoding_of_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an option, the encoding is the locale's, and where that has none, what Python prefers."""
    monkeypatch.setattr(locale, "nl_langinfo", lambda item: "GB18030")
    assert Account.current({}).encoding == "gb18030"
    monkeypatch.setattr(locale, "nl_langinfo", lambda item: "")
    monkeypatch.setattr(locale, "getpreferredencoding", lambda do_setlocale: "GBK")
    assert Account.current({}).encoding == "gbk"


@pytest.mark.parametrize("name", ["ANSI_X3.4-1968", "US-ASCII", "646"])
def test_locale_without_a_code_page(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A locale that knows only ASCII refuses no other character: its jobs get UTF-8, unless ASCII is asked for."""
    monkeypatch.setattr(locale, "nl_langinfo", lambda item: name)
    assert Account.current({}).encoding == "utf-8"
    assert Account.current({}, encoding=name).encoding == "ascii"


@pytest.mark.parametrize("encoding", ["klingon", "hex"])
def test_unknown_encoding(encoding: str) -> None:
    """An encoding that there is not, or that is not one of text, is an error of one line."""
    with pytest.raises(ValueError, match=f"^unknown encoding '{encoding}'; name a code page such as utf-8 or gbk$"):
        Account.current({}, encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-16-le", "cp037"])
def test_encoding_without_ascii(encoding: str) -> None:
    """An encoding in which a slash is no slash cannot be a system's code page."""
    with pytest.raises(ValueError, match="not a superset of ASCII"):
        Account.current({}, encoding=encoding)
