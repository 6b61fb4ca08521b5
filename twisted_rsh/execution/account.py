"""The account that jobs run as: this process's own user, and the environment that every job starts from."""

from __future__ import annotations

import codecs
import locale
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["DEFAULT_PATH", "DEFAULT_SHELL", "Account"]

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
"""The ``PATH`` of a job when the server has none, as under some service managers: the standard folders of Linux and
macOS, those for local programs first."""

DEFAULT_SHELL = "/bin/sh"
"""The shell of a user without one in passwd(5), where an empty field means this one."""

_INHERITED_NAMES = frozenset({"PATH", "LANG", "LANGUAGE", "TZ"})
"""The server's variables that a job gets too.  It gets no other, such as a token of the service manager."""

_INHERITED_PREFIX = "LC_"
"""The beginning of the names of the locale's categories, which a job gets too: systems add categories of their own."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user that jobs run as, and what every job starts with.  Text is decoded as Python decodes file names.

    :ivar name: the user's name.
    :ivar home: absolute path of the home folder; it need not exist.
    :ivar shell: absolute path of the shell that runs command strings.
    :ivar encoding: the code page of the jobs, as Python names it; a superset of ASCII.
    :ivar environment: names and values, sorted by name.
    """

    name: str
    home: str
    shell: str
    encoding: str
    environment: tuple[tuple[str, str], ...]

    @classmethod
    def current(cls, environ: Mapping[str, str], shell: str | None = None, encoding: str | None = None) -> Account:
        """Describe the user that this process runs as.

        Of `environ` the jobs' environment takes the search path, the locale and the time zone only, so no secret in the
        server's environment reaches a job.

        :param environ: the server's environment, such as ``os.environ``.
        :param shell: absolute path of the shell, or ``None`` for the one that passwd(5) names.
        :param encoding: the name of the jobs' code page, or ``None`` for the locale's.  The locale ``C``, which the
            system also takes for one that is not installed, knows only ASCII; then it is UTF-8, so that the bytes of
            other characters pass unchanged.
        :returns: the account; hand it to :class:`twisted_rsh.execution.user.LocalUser`.
        :raises ValueError: the shell is no absolute path, or the encoding is unknown or no superset of ASCII.
        """
        uid = os.getuid()
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:  # a container may run as a number without an entry
            name, home, own_shell = environ.get("USER", ""), environ.get("HOME", ""), ""
        else:
            name, home, own_shell = entry.pw_name, entry.pw_dir, entry.pw_shell
        name = name or str(uid)
        home = home if home.startswith("/") else "/"
        shell = shell or own_shell or DEFAULT_SHELL
        if not shell.startswith("/"):
            raise ValueError(f"the shell must be an absolute path, not {shell!r}")
        environment = {key: value for key, value in environ.items() if _is_inherited(key)}
        environment.setdefault("PATH", DEFAULT_PATH)
        environment.update(HOME=home, USER=name, LOGNAME=name, SHELL=shell)
        return cls(name, home, shell, _code_page(encoding), tuple(sorted(environment.items())))


def _is_inherited(name: str) -> bool:
    return name in _INHERITED_NAMES or name.startswith(_INHERITED_PREFIX)


def _code_page(encoding: str | None) -> str:
    """Return a code page's name in Python; ``None`` means the locale's, and UTF-8 in a locale that has only ASCII."""
    wanted = encoding or locale.nl_langinfo(locale.CODESET) or locale.getpreferredencoding(False)
    try:
        name = codecs.lookup(wanted).name
        is_ascii_superset = "/A=".encode(name) == b"/A="
    except LookupError:  # str.encode also raises this for a codec that is not one of text, such as "hex"
        raise ValueError(f"unknown encoding {wanted!r}; name a code page such as utf-8 or gbk") from None
    if not is_ascii_superset:
        raise ValueError(f"encoding {wanted!r} is not a superset of ASCII; name a code page such as utf-8 or gbk")
    if name == "ascii" and encoding is None:
        return "utf-8"
    return name
