"""The folders of a user's keys, permissions and server records, and the names of the files in them.

They are this application's own folders below the user's home folder, and not the home folder itself.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping

from twisted_rsh.core.errors import Error
from twisted_rsh.core.values import dataclass

__all__ = ["ConfigFolders", "HomeUnknown"]

APPLICATION = "twisted-rsh"
"""The name of this application's folder in each of the user's base folders."""


class HomeUnknown(Error, ValueError):
    """No setting names this user's folders: ``HOME`` is of no use and the user database has no home folder."""


def _home_of_user() -> str:
    user = os.geteuid()
    try:
        return pwd.getpwuid(user).pw_dir
    except KeyError:
        raise HomeUnknown(f"user {user} has no home folder; set HOME, or give --config-dir FOLDER") from None


@dataclass(frozen=True, slots=True)
class ConfigFolders:
    """The two folders of one user.  The properties name the files in them; nothing here reads or makes a file.

    :ivar config: the folder for the user's decisions: the client's key and the authorized keys.
    :ivar state: the folder for the programs' memory: the server's key, the records of servers, the history.
    """

    config: str
    state: str

    @classmethod
    def default(cls, environ: Mapping[str, str]) -> ConfigFolders:
        """Name the folders of the `XDG Base Directory Specification
        <https://specifications.freedesktop.org/basedir-spec/latest/>`_.

        :param environ: the environment, such as ``os.environ``.  ``XDG_CONFIG_HOME``, ``XDG_STATE_HOME`` and ``HOME``
            count when they are absolute; a relative path is ignored, as the specification says, and then the user
            database names the home folder.
        :returns: the folders, which need not exist.
        :raises HomeUnknown: ``HOME`` is of no use and the user database does not know this user.
        """

        def base(variable: str, *below_home: str) -> str:
            folder = environ.get(variable, "")
            if os.path.isabs(folder):
                return os.path.join(folder, APPLICATION)
            home = environ.get("HOME", "")
            if not os.path.isabs(home):
                home = _home_of_user()
            return os.path.join(home, *below_home, APPLICATION)

        return cls(base("XDG_CONFIG_HOME", ".config"), base("XDG_STATE_HOME", ".local", "state"))

    @classmethod
    def at(cls, folder: str) -> ConfigFolders:
        """Use one folder for everything.

        :param folder: its path; a relative path starts at the current working folder, also if that changes later.
        :returns: the folders, both at that path.
        """
        absolute = folder if os.path.isabs(folder) else os.path.join(os.getcwd(), folder)
        return cls(absolute, absolute)

    @classmethod
    def chosen(cls, folder: str | None, environ: Mapping[str, str]) -> ConfigFolders:
        """Use what ``--config-dir`` says.

        :param folder: its value, as for :meth:`at`; ``None`` without the option.
        :param environ: as for :meth:`default`, which counts then.
        :raises HomeUnknown: as for :meth:`default`.
        """
        return cls.default(environ) if folder is None else cls.at(folder)

    @property
    def server_key_path(self) -> str:
        """The path of the server's private key, in a folder of its own."""
        return os.path.join(self.state, "server", "key.pem")

    @property
    def server_settings_path(self) -> str:
        """The path of the server's configuration file, whose lines are options of its command line."""
        return os.path.join(self.config, "server.conf")

    @property
    def server_certificate_path(self) -> str:
        """The path of the certificate that an SSH authority has made for the server's key."""
        return os.path.join(self.state, "server", "key-cert.pub")

    @property
    def next_server_key_path(self) -> str:
        """The path of the private key that the server will have, while its key is changed."""
        return os.path.join(self.state, "server", "next_key.pem")

    @property
    def authorized_keys_path(self) -> str:
        """The path of the file of public keys that may log in, one a line."""
        return os.path.join(self.config, "authorized_keys")

    @property
    def client_key_path(self) -> str:
        """The path of the client's private key."""
        return os.path.join(self.config, "id_ed25519")

    @property
    def client_public_key_path(self) -> str:
        """The path of the client's public key, which may log in to the same user's server."""
        return self.client_key_path + ".pub"

    @property
    def known_servers_path(self) -> str:
        """The path of the file of the servers that the client knows, one a line."""
        return os.path.join(self.config, "known_servers")

    @property
    def client_settings_path(self) -> str:
        """The path of the client's configuration file, in the language of ssh_config(5)."""
        return os.path.join(self.config, "config")

    @property
    def host_groups_path(self) -> str:
        """The path of the client's groups of hosts, a line ``NAME: HOST, HOST`` for each."""
        return os.path.join(self.config, "groups")

    @property
    def history_path(self) -> str:
        """The path of the console's history of typed lines."""
        return os.path.join(self.state, "history")

    def record_path(self, port: int) -> str:
        """Name the record of the server on a port (:mod:`twisted_rsh.trust.records`).

        :param port: a TCP port of this machine.
        :returns: its path.
        """
        return os.path.join(self.state, "run", f"{port}.json")

    def control_path(self, port: int) -> str:
        """Name the Unix socket at which the server on a port answers the account that runs it.

        :param port: a TCP port of this machine; 0 for a server without one.
        :returns: its path, beside that of the record.
        """
        return os.path.join(self.state, "run", f"{port}.sock")

    def socket_path(self, port: int, environ: Mapping[str, str]) -> str:
        """Name the Unix socket at which the server on a port serves the user's own clients.

        :param port: a TCP port of this machine.
        :param environ: the environment, such as ``os.environ``.
        :returns: its path: in the user's runtime folder, if ``XDG_RUNTIME_DIR`` names a folder that is the user's alone
            and these are the XDG folders; otherwise beside that of the record.
        """
        runtime = environ.get("XDG_RUNTIME_DIR", "")
        if self.config != self.state and os.path.isabs(runtime) and _is_private(runtime):
            return os.path.join(runtime, APPLICATION, f"{port}.sock")
        return os.path.join(self.state, "run", f"{port}.link.sock")


def _is_private(folder: str) -> bool:
    try:
        status = os.stat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077
