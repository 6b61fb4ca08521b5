"""Conversion between code pages: the server's bytes for the local screen, and bytes to ``str`` for the library.

No byte of a command's output raises an error, and a character that arrives in pieces comes out whole.
"""

from __future__ import annotations

import codecs
import sys
from typing import cast

__all__ = ["Transcoder", "decode_text", "text_codec"]

_NOT_CODE_PAGES = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})
"""Codecs that no terminal or file uses for its text; some of them raise an error whatever `errors` says."""

_FIRST_BYTE = "twisted_rsh.replace-first-byte"
"""The name of the error handler that replaces one byte and goes on after it."""


def _replace_first_byte(error: UnicodeError) -> tuple[str | bytes, int]:
    return "\N{REPLACEMENT CHARACTER}", cast("UnicodeDecodeError", error).start + 1


codecs.register_error(_FIRST_BYTE, _replace_first_byte)


def text_codec(name: str) -> str:
    """Find a code page.

    :param name: a name of the code page: ``"GBK"``, ``"cp936"``, ``"UTF8"``.
    :returns: the name that Python prefers for it, the same for all of its names: ``"gbk"``, ``"utf-8"``.
    :raises LookupError: Python does not know it, or it is not a code page (``base64``, ``idna``).
    """
    try:
        preferred = codecs.lookup(name).name
        "".encode(preferred)  # refused by base64 and the others that do not encode text
    except (LookupError, ValueError):  # ValueError: a name with a NUL character in it
        preferred = ""
    if not preferred or preferred in _NOT_CODE_PAGES:
        raise LookupError(f"no such code page: {name!r}")
    return preferred


class Transcoder:
    """Converts a stream of bytes from one code page to another, piece by piece, for people to read.

    Call :meth:`convert` with each piece and :meth:`finish` at the end.  Pieces may be cut anywhere, also within a
    character.  A byte that the source code page does not define becomes U+FFFD, and a character that the target cannot
    express becomes the target's replacement, usually ``?``; neither ever raises.  Between two names of one code page
    the bytes pass untouched, undefined ones included.

    After an undefined byte, decoding resumes at the very next byte.  A lead byte of GBK, Big5, Shift JIS and the like
    that lost its trail byte therefore leaves a newline, a quote or an escape character after it alone; a letter
    after it that could be its trail byte cannot be told from one and is taken for it.

    :param source: the code page of the given bytes.
    :param target: the code page of the returned bytes.
    :raises LookupError: one of the two is unknown: see :func:`text_codec`.
    """

    def __init__(self, source: str, target: str) -> None:
        self._source, target = text_codec(source), text_codec(target)
        self._untouched = self._source == target
        # At the end of the input, gb18030 takes up to three bytes, digits and newlines among them, for one broken
        # character. Elsewhere Python's own handler does right, and must: in UTF-16 a character is never one byte.
        errors = _FIRST_BYTE if self._source == "gb18030" else "replace"
        self._decoder = codecs.getincrementaldecoder(self._source)(errors)
        self._encoder = codecs.getincrementalencoder(target)("replace")

    def convert(self, data: bytes) -> bytes:
        """Convert the next piece.

        :param data: bytes of the source code page.
        :returns: bytes of the target code page; a character that is not complete yet is kept for the next call.
        """
        return data if self._untouched else self._encoder.encode(self._decode(data, final=False))

    def finish(self) -> bytes:
        """Convert what is left; the last call.

        :returns: a replacement for a character that remained incomplete, and what the target code page wants at the
            end of a text.
        """
        if self._untouched:
            return b""
        text = self._decode(b"", final=True)
        while self._decoder.getstate()[0]:  # what our error handler left of a broken end
            text += self._decode(b"", final=True)
        return self._encoder.encode(text, final=True)

    def _decode(self, data: bytes, *, final: bool) -> str:
        try:
            return self._decoder.decode(data, final)
        except UnicodeError:
            # UTF-16 and UTF-32 without a byte order mark, which only the incremental decoders refuse to guess.
            kept, _ = self._decoder.getstate()
            native = f"{self._source}-{'le' if sys.byteorder == 'little' else 'be'}"
            self._decoder = codecs.getincrementaldecoder(native)("replace")
            return self._decoder.decode(kept + data, final)


def decode_text(data: bytes, encoding: str) -> str:
    """Decode bytes for a program, without losing any where the code page allows that.

    Undefined bytes become surrogate escapes (PEP 383), so ``text.encode(encoding, "surrogateescape")`` gives the same
    bytes again.  UTF-16, UTF-32 and the seven-bit code pages (``iso2022_jp``, ``hz``, ``utf-7``) cannot express their
    errors in that way and get U+FFFD instead; with a code page that this Python does not know, every byte above 127
    becomes an escape.

    :param data: the whole text; use :class:`Transcoder` for a stream.
    :param encoding: its code page, as the server named it.
    :returns: the text; this function never raises.
    """
    try:
        codec = text_codec(encoding)
    except LookupError:
        return data.decode("ascii", "surrogateescape")
    try:
        return data.decode(codec, "surrogateescape")
    except UnicodeError:
        return data.decode(codec, "replace")
