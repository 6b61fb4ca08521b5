"""``trshctl known``: list the servers that are known, compare their keys with those that they have, and forget them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from twisted_rsh.cli.options import ClientOptions, parse_options
from twisted_rsh.cli.reaching import Reach, describe_problem
from twisted_rsh.client.status import printable
from twisted_rsh.core.errors import Error
from twisted_rsh.trshctl.answer import Answer
from twisted_rsh.trust.fingerprint import format_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.known_servers import KnownServers, format_address

__all__ = ["check_known", "forget_known", "list_known"]

CHECK_SECONDS = 10.0
"""Seconds that a server has to show its key, unless ``ConnectTimeout`` says otherwise."""


async def list_known(config: ConfigFolders, *, as_json: bool) -> Answer:
    """List the servers that are known, in the order of the file.

    :param config: the user's folders.
    :param as_json: whether to print a JSON list.
    :raises Error: the file cannot be used.
    """
    known = list(KnownServers(config))
    if as_json:
        rows = [{"address": s.address, "fingerprint": s.fingerprint, "comment": printable(s.comment)} for s in known]
        return Answer(json.dumps(rows, indent=1) + "\n")
    return Answer("".join(printable(f"{s.address}  {s.fingerprint}  {s.comment}".rstrip()) + "\n" for s in known))


async def forget_known(servers: Sequence[ClientOptions]) -> Answer:
    """Forget all keys of some servers.

    :param servers: the servers; none is forgotten if one is not known.
    :raises Error: a server is not known, or the file cannot be used.
    """
    for options in servers:
        if not KnownServers(options.config_folders()).pins(options.host, options.port):
            address = format_address(options.host, options.port)
            raise Error(f"{address} is not known; `trshctl known list` lists the servers")
    count = sum(KnownServers(options.config_folders()).forget(options.host, options.port) for options in servers)
    return Answer(f"{count} {'key' if count == 1 else 'keys'} forgotten\n")


async def check_known(
    reactor: Any, servers: Sequence[ClientOptions], everything: ClientOptions | None, *, as_json: bool
) -> Answer:
    """Dial servers, and compare the keys that they show with those that are known.  Nothing is sent to them.

    :param reactor: the reactor.
    :param servers: the servers.
    :param everything: says how to reach all servers of the file, in place of `servers`; ``None`` for these alone.
    :param as_json: whether to print a JSON list.
    :returns: a line for each server: ``ok``, ``changed``, ``unknown``, or why it does not answer.  The status is 1
        unless all are ``ok``.
    :raises Error: the file cannot be used.
    """
    targets = [(format_address(server.host, server.port), server) for server in servers]
    if everything is not None:
        known = KnownServers(everything.config_folders())
        words = [] if everything.config_dir is None else ["--config-dir", everything.config_dir]
        addresses = dict.fromkeys(server.address for server in known)
        # The file has hosts as they are dialled, which no alias of the configuration may change.
        targets = [(address, parse_options([*words, "-F", "none", address])) for address in addresses]
    rows = [await _check(reactor, address, options) for address, options in targets]
    status = 0 if all(row["state"] == "ok" for row in rows) else 1
    if as_json:
        return Answer(json.dumps(rows, indent=1) + "\n", status)
    return Answer("".join(printable(_line(row)) + "\n" for row in rows), status)


async def _check(reactor: Any, address: str, options: ClientOptions) -> dict[str, Any]:
    pins = KnownServers(options.config_folders()).pins(options.host, options.port)
    row = {"address": address, "known": [format_fingerprint(pin) for pin in pins], "found": None, "error": None}
    reach = Reach(reactor, options, options.config_folders())
    try:
        pin = await reach.fetch_pin(CHECK_SECONDS)
    except (Error, OSError) as error:
        return row | {"state": "failed", "error": describe_problem(error)}
    finally:
        reach.stop()
    state = "ok" if pin in pins else "changed" if pins else "unknown"
    return row | {"state": state, "found": format_fingerprint(pin)}


def _line(row: dict[str, Any]) -> str:
    match row["state"]:
        case "ok":
            return f"{row['address']}  ok  {row['found']}"
        case "failed":
            return f"{row['address']}  failed  {row['error']}"
        case "changed":
            return f"{row['address']}  changed  it is {row['found']}, and not {' or '.join(row['known'])}"
    return f"{row['address']}  unknown  it is {row['found']}"
