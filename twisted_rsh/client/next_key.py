"""The next key of a server: a client that trusts the server's key learns it, before the server shows it."""

from __future__ import annotations

from twisted_rsh.client.connection import Connection
from twisted_rsh.trust.files import FileProblem, today
from twisted_rsh.trust.fingerprint import format_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.known_servers import KnownServers, format_address

__all__ = ["learn_next_key"]


def learn_next_key(config: ConfigFolders, host: str, port: int, connection: Connection, *, is_named: bool) -> str:
    """Add the key that a server has announced to ``known_servers``, if the file has the key that the server shows.

    :param config: the folders of the known servers.
    :param host: the server's host name or address.
    :param port: its TCP port.
    :param connection: the connection over which the server has announced the key.
    :param is_named: whether the user has named the server's key, in an option or a configuration file.
    :returns: one line for the user; empty if there is nothing new, or nothing to do.
    """
    following = connection.next_pin
    if following is None:
        return ""
    text = f"the server {format_address(host, port)} will have another key, {format_fingerprint(following)}"
    known = KnownServers(config)
    try:
        pins = known.pins(host, port)
        if connection.pin in pins:
            if following in pins:
                return ""
            known.add(host, port, following, f"next key, announced {today()}")
            return f"{text}; known_servers has it from now on"
    except (FileProblem, OSError) as error:
        return f"{text}, which is not remembered: {error}"
    if not is_named:
        return ""  # a server of the user on this machine, which tells its key in its record
    return f"{text}; name it in place of {format_fingerprint(connection.pin)} when the server shows it"
