"""A certification authority of SSH, from OpenSSH's PROTOCOL.certkeys alone."""

from __future__ import annotations

from collections.abc import Sequence

from tests.trust.keys import key_blob, signature, string

CERTIFICATE_TYPES = {
    "ssh-ed25519": "ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256": "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384": "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521": "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "ssh-rsa": "ssh-rsa-cert-v01@openssh.com",
    "sk-ssh-ed25519@openssh.com": "sk-ssh-ed25519-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com": "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
}

AUTHORITY = 9
"""Which of the Ed25519 keys of the tests is that of the authority."""

USER, SERVER = 1, 2

FOREVER = 2**64 - 1

Options = Sequence[tuple[bytes, bytes]]


def option(text: bytes) -> bytes:
    """Write the value of an option."""
    return string(text)


def pack(options: Options) -> bytes:
    """Write options."""
    return b"".join(string(name) + string(value) for name, value in options)


def certify(
    blob: bytes,
    *,
    serial: int = 7,
    kind: int = USER,
    key_id: bytes = b"alice at work",
    principals: Sequence[bytes] = (b"alice",),
    after: int = 0,
    before: int = FOREVER,
    critical: Options = (),
    extensions: Options = ((b"permit-pty", b""),),
    reserved: bytes = b"",
    algorithm: str = "ssh-ed25519",
    authority: bytes | None = None,
    signed: bytes | None = None,
    behind: bytes = b"",
) -> bytes:
    """Certify a key; `signed` is what to sign in place of the certificate."""
    size = int.from_bytes(blob[:4], "big")
    key_type, parts = blob[4 : 4 + size].decode(), blob[4 + size :]
    body = (
        string(CERTIFICATE_TYPES[key_type].encode())
        + string(b"nonce" * 6)
        + parts
        + serial.to_bytes(8, "big")
        + kind.to_bytes(4, "big")
        + string(key_id)
        + string(b"".join(map(string, principals)))
        + after.to_bytes(8, "big")
        + before.to_bytes(8, "big")
        + string(pack(critical))
        + string(pack(extensions))
        + string(reserved)
        + string(key_blob(algorithm, AUTHORITY) if authority is None else authority)
    )
    made = signature(algorithm, body if signed is None else signed, AUTHORITY)
    return body + string(made) + behind
