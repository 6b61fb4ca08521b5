"""The keywords of the configuration and of ``-o``, the values that they have, and the settings that they make."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Callable
from typing import Any

from twisted_rsh.cli.destination import UsageError, parse_host, parse_user
from twisted_rsh.cli.values import (
    parse_count,
    parse_disconnection_policy,
    parse_encoding,
    parse_escape,
    parse_family,
    parse_flag,
    parse_host_key_check,
    parse_interval,
    parse_log_level,
    parse_port,
    parse_seconds,
    parse_session_type,
    parse_size,
    parse_terminal_wish,
)
from twisted_rsh.core.values import dataclass

__all__ = ["KEYWORDS", "Keyword", "Settings", "Takes", "find_keyword", "is_of_ssh", "split_line", "split_words"]


class Takes(enum.Enum):
    """What stands after a keyword."""

    WORD = "one word"
    WORDS = "words"
    REST = "the rest of the line"


@dataclass(frozen=True, slots=True)
class Keyword:
    """A keyword that has an effect.

    :ivar name: its name, as documentation writes it; capitals do not count.
    :ivar field: the setting that it makes, an attribute of :class:`Settings`'s values.
    :ivar parse: reads one word, or the rest of the line, and raises `UsageError` for a wrong one.
    :ivar takes: what stands after it.
    :ivar adds: whether each of its lines counts; otherwise the first one does.
    """

    name: str
    field: str
    parse: Callable[[str], Any] = str
    takes: Takes = Takes.WORD
    adds: bool = False


def _host_name(text: str) -> str:
    """Read the name of a host, in which tokens may stand for what the user typed."""
    parse_host(text.replace("%h", "h").replace("%n", "n").replace("%%", "%"))
    return text


def _unless_none(text: str) -> str | None:
    return None if text.lower() == "none" else text


def _patterns(text: str) -> str:
    if not text.removeprefix("-") or "=" in text or "\0" in text:
        raise UsageError(f"not the name of a variable: {text!r}")
    return text


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or "\0" in text:
        raise UsageError(f"not a variable: {text!r}: write NAME=VALUE")
    return name, value


def _tag(text: str) -> str:
    if not text.isprintable():
        raise UsageError(f"not a tag: {text!r}")
    return text


_ALL = (
    Keyword("HostName", "host_name", _host_name),
    Keyword("Port", "port", parse_port),
    Keyword("User", "user", parse_user),
    Keyword("AddressFamily", "family", parse_family),
    Keyword("ConnectTimeout", "connect_timeout", parse_interval),
    Keyword("ServerAliveInterval", "alive_interval", parse_interval),
    Keyword("ServerAliveCountMax", "alive_count", parse_count),
    Keyword("ProxyCommand", "proxy_command", _unless_none, Takes.REST),
    Keyword("ProxyJump", "proxy_jump", _unless_none),
    Keyword("IdentityFile", "identities", str, adds=True),
    Keyword("CertificateFile", "certificates", str, adds=True),
    Keyword("IdentitiesOnly", "identities_only", parse_flag),
    Keyword("IdentityAgent", "agent", str),
    Keyword("RequestTTY", "terminal", parse_terminal_wish),
    Keyword("StdinNull", "stdin_is_empty", parse_flag),
    Keyword("ForkAfterAuthentication", "background", parse_flag),
    Keyword("SessionType", "session_type", parse_session_type),
    Keyword("RemoteCommand", "remote_command", _unless_none, Takes.REST),
    Keyword("BatchMode", "batch_mode", parse_flag),
    Keyword("StrictHostKeyChecking", "strict_host_key", parse_host_key_check),
    Keyword("LogLevel", "log_level", parse_log_level),
    Keyword("EscapeChar", "escape_character", parse_escape),
    Keyword("SendEnv", "sent_variables", _patterns, Takes.WORDS, adds=True),
    Keyword("SetEnv", "set_variables", _variable, Takes.WORDS),
    Keyword("LocalForward", "forwardings", lambda text: ("-L", text), Takes.REST, adds=True),
    Keyword("RemoteForward", "forwardings", lambda text: ("-R", text), Takes.REST, adds=True),
    Keyword("DynamicForward", "forwardings", lambda text: ("-D", text), adds=True),
    Keyword("ClearAllForwardings", "clear_forwardings", parse_flag),
    Keyword("ExitOnForwardFailure", "exit_on_forward_failure", parse_flag),
    Keyword("Tag", "tag", _tag),
    Keyword("IgnoreUnknown", "ignore_unknown", str),
    # Those that ssh does not have.
    Keyword("Fingerprint", "fingerprint", str),
    Keyword("OnDisconnect", "on_disconnect", parse_disconnection_policy),
    Keyword("Resume", "resume", parse_flag),
    Keyword("Timeout", "timeout", parse_seconds),
    Keyword("MaxOutput", "max_output", parse_size),
    Keyword("MaxCPU", "max_cpu", parse_seconds),
    Keyword("MaxMemory", "max_memory", parse_size),
    Keyword("Encoding", "encoding", parse_encoding),
)

KEYWORDS = {keyword.name.lower(): keyword for keyword in _ALL}
"""All keywords that have an effect, by their names in small letters.  `Host`, `Match` and `Include` are the file's."""

_OLD_NAMES = {"identityfile2": "identityfile"}
"""Names that OpenSSH still takes for keywords that have another name now."""

_OF_SSH = frozenset(
    """
    AddKeysToAgent AFSTokenPassing BindAddress BindInterface CanonicalDomains CanonicalizeFallbackLocal
    CanonicalizeHostname CanonicalizeMaxDots CanonicalizePermittedCNAMEs CASignatureAlgorithms
    ChallengeResponseAuthentication ChannelTimeout CheckHostIP Cipher Ciphers Compression CompressionLevel
    ConnectionAttempts ControlMaster ControlPath ControlPersist DSAAuthentication EnableEscapeCommandline
    EnableSSHKeysign FallbackToRsh FingerprintHash ForwardAgent ForwardX11 ForwardX11Timeout ForwardX11Trusted
    GatewayPorts GlobalKnownHostsFile GlobalKnownHostsFile2 GSSAPIAuthentication GSSAPIClientIdentity
    GSSAPIDelegateCredentials GSSAPIKexAlgorithms GSSAPIKeyExchange GSSAPIRenewalForcesRekey GSSAPIServerIdentity
    GSSAPITrustDNS HashKnownHosts HostbasedAcceptedAlgorithms HostbasedAuthentication HostbasedKeyTypes
    HostKeyAlgorithms HostKeyAlias IPQoS KbdInteractiveAuthentication KbdInteractiveDevices KerberosAuthentication
    KerberosTGTPassing KexAlgorithms KnownHostsCommand LocalCommand LogVerbose MACs NoHostAuthenticationForLocalhost
    NumberOfPasswordPrompts ObscureKeystrokeTiming PasswordAuthentication PermitLocalCommand PermitRemoteOpen
    PKCS11Provider PreferredAuthentications Protocol ProtocolKeepAlives ProxyUseFdpass PubkeyAcceptedAlgorithms
    PubkeyAcceptedKeyTypes PubkeyAuthentication RefuseConnection RekeyLimit RequiredRSASize RevokedHostKeys
    RhostsAuthentication RhostsRSAAuthentication RSAAuthentication SecurityKeyProvider SetupTimeOut SkeyAuthentication
    SmartcardDevice StreamLocalBindMask StreamLocalBindUnlink SyslogFacility TCPKeepAlive TISAuthentication Tunnel
    TunnelDevice UpdateHostKeys UseBlacklistedKeys UseKeychain UsePrivilegedPort UserKnownHostsFile
    UserKnownHostsFile2 UseRoaming UseRsh VerifyHostKeyDNS VersionAddendum VisualHostKey WarnWeakCrypto XAuthLocation
    """.lower().split()
)
"""The keywords of OpenSSH's clients, old and new, that have no effect here: they are about what SSH's protocol does, or
about what the client of this project decides otherwise."""


def find_keyword(name: str) -> Keyword | None:
    """Find a keyword that has an effect.

    :param name: its name; capitals do not count.
    :returns: the keyword; ``None`` if there is none.
    """
    return KEYWORDS.get(_OLD_NAMES.get(name.lower(), name.lower()))


def is_of_ssh(name: str) -> bool:
    """Tell whether OpenSSH has a keyword that has no effect here.

    :param name: its name; capitals do not count.
    """
    return name.lower() in _OF_SSH


def split_line(line: str) -> tuple[str, str]:
    """Split a line into its keyword and what stands after it.

    :param line: such as ``Port 22``, ``Port=22`` or ``Port = 22``.
    :returns: the keyword and the rest, both without spaces around them; either may be empty.
    """
    match = re.match(r'\s*("[^"]*"|[^\s="]*)\s*=?\s*(.*)', line, re.DOTALL)
    assert match is not None  # each part may be empty
    return match[1].strip('"'), match[2].rstrip()


def split_words(text: str) -> list[str]:
    """Split what stands after a keyword into words.

    Quotation marks, single or double, keep spaces within a word; a backslash before one of them, before a backslash or
    before a space stands for that character.  A word that ``#`` begins, and all after it, is a comment.

    :param text: the text.
    :raises UsageError: a quotation mark is not closed.
    """
    words: list[str] = []
    # No text matches in two ways, so that the search never goes back.
    piece = re.compile(
        r"""\\["'\\ ]|\\|"((?:[^"\\]|\\["\\]|\\(?!["\\]))*)"|'((?:[^'\\]|\\['\\]|\\(?!['\\]))*)'|[^\s"'\\]+"""
    )
    position = 0
    word: str | None = None
    while position < len(text):
        if text[position].isspace():
            if word is not None:
                words.append(word)
                word = None
            position += 1
            continue
        if word is None and text[position] == "#":
            return words
        match = piece.match(text, position)
        if match is None:
            raise UsageError(f"a quotation mark is not closed: {text!r}")
        word = (word or "") + _unquoted(match)
        position = match.end()
    return words if word is None else [*words, word]


def _unquoted(match: re.Match[str]) -> str:
    for group in (1, 2):
        if match[group] is not None:
            return re.sub(r"\\([\"'\\])", r"\1", match[group])
    return match[0][1:] if len(match[0]) == 2 and match[0][0] == "\\" else match[0]


@dataclasses.dataclass(slots=True)
class Settings:
    """The settings of one run: the first value of each, or all values where each counts.

    :ivar values: the values, by the fields of their keywords.
    :ivar notes: a line for each keyword that had no effect, for ``-v``.
    """

    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def apply(self, keyword: Keyword, text: str) -> None:
        """Take what stands after a keyword.

        :param keyword: the keyword.
        :param text: what stands after it.
        :raises UsageError: it is wrong.
        """
        words = [text] if keyword.takes is Takes.REST else split_words(text)
        if not words or (not text and keyword.takes is Takes.REST) or (keyword.takes is Takes.WORD and not words[0]):
            raise UsageError(f"{keyword.name} needs a value")
        if keyword.takes is Takes.WORD and len(words) > 1:
            raise UsageError(f"{keyword.name} takes one value, not {len(words)}: {text!r}")
        parsed = [keyword.parse(word) for word in words]
        if keyword.adds:
            self.values.setdefault(keyword.field, []).extend(parsed)
        else:
            self.values.setdefault(keyword.field, parsed if keyword.takes is Takes.WORDS else parsed[0])

    def ignore(self, name: str, where: str) -> None:
        """Take note of a keyword or an option that has no effect.

        :param name: its name.
        :param where: where it stands.
        """
        self.notes.append(f"{where}: {name!r} has no effect")

    def get(self, field_name: str, default: Any = None) -> Any:
        """Return a setting.

        :param field_name: the field of its keyword.
        :param default: what to return if there is none.
        """
        return self.values.get(field_name, default)
