"""Code pages: any cut of the stream gives the same text, and no byte raises or takes its neighbours along."""

from __future__ import annotations

import itertools
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_rsh.client.text import Transcoder, decode_text, text_codec

CODE_PAGES = ["gbk", "utf-8", "cp932", "gb18030", "utf-16"]

ODD_CODE_PAGES = ["utf-32", "utf-7", "hz", "iso2022_jp", "big5", "euc_jp", "cp424"]
"""Seven-bit, stateful, wide, and not a superset of ASCII."""

PLACES = st.lists(st.integers(min_value=0))
"""Where to cut; any number, see `cut`."""

SAMPLE = "a\n汉字 漢字かなカナ é€ 😀 ¥~|\r\n"
"""Text of which each code page can express at least a part, in one to four bytes a character."""


def transcode(source: str, target: str, *pieces: bytes) -> bytes:
    """Convert all of these pieces."""
    transcoder = Transcoder(source, target)
    return b"".join(map(transcoder.convert, pieces)) + transcoder.finish()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut data at these places, wherever they fall."""
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(marks)]


@given(
    encoding=st.sampled_from(CODE_PAGES),
    text=st.text(st.sampled_from(SAMPLE) | st.characters(exclude_categories=["Cs"])),
    places=PLACES,
)
def test_any_chunking_equals_the_whole(encoding: str, text: str, places: list[int]) -> None:
    """However a text is cut into pieces, its conversion is that of the whole."""
    data = text.encode(encoding, "ignore")
    assert transcode(encoding, "utf-32-le", *cut(data, places)).decode("utf-32-le") == data.decode(encoding)


@given(encoding=st.sampled_from(CODE_PAGES + ODD_CODE_PAGES), data=st.binary(), places=PLACES)
def test_any_bytes_convert_and_alike_in_any_chunking(encoding: str, data: bytes, places: list[int]) -> None:
    """Bytes that are no text at all never raise, and their cuts make no difference either."""
    assert transcode(encoding, "latin-1", *cut(data, places)) == transcode(encoding, "latin-1", data)
    pieced, whole = transcode("latin-1", encoding, *cut(data, places)), transcode("latin-1", encoding, data)
    assert pieced.decode(encoding) == whole.decode(encoding)  # UTF-7 has two ways to write the same


@given(data=st.binary())
def test_one_code_page_passes_bytes_untouched(data: bytes) -> None:
    """Between two names of the same code page nothing is changed, broken characters included."""
    assert transcode("GBK", "cp936", data) == data


@pytest.mark.parametrize("encoding", ["gbk", "gb2312", "gb18030", "big5", "cp932", "euc_jp", "euc_kr", "utf-8"])
@pytest.mark.parametrize("lead", [b"\x81", b"\xe4", b"\x8f\xa1\xe4", b"\xff"])
@pytest.mark.parametrize("neighbour", [b"\n", b'"', b"\x1b", b" ", b"\n" + b"b" * 8])
def test_broken_lead_byte_leaves_a_newline_alone(encoding: str, lead: bytes, neighbour: bytes) -> None:
    """A lead byte without its trail byte does not swallow the newline behind it, in one piece or in two."""
    for pieces in ([b"a" + lead + neighbour], [b"a" + lead, neighbour]):
        text = transcode(encoding, "utf-16-le", *pieces).decode("utf-16-le")
        assert text.startswith("a")
        assert text.endswith(neighbour.decode())


@pytest.mark.parametrize("tail", [b"\x810\n", b"\x810", b"\x81"])
def test_broken_gb18030_at_the_end_keeps_digits_and_newline(tail: bytes) -> None:
    """An incomplete four-byte character costs its lead byte only."""
    assert transcode("gb18030", "utf-8", tail).decode() == "\ufffd" + tail[1:].decode()


def test_letter_behind_a_broken_lead_byte_is_taken_for_its_trail() -> None:
    """The bytes do not tell: the letter may be the second half."""
    assert transcode("gbk", "utf-8", b"\x81A").decode() == b"\x81A".decode("gbk")


def test_character_is_held_until_complete() -> None:
    """Half a character shows nothing, and everything before it at once."""
    transcoder = Transcoder("gbk", "utf-8")
    first, second = "字".encode("gbk")[:1], "字".encode("gbk")[1:]
    assert transcoder.convert(b"x" + first) == b"x"
    assert transcoder.convert(second) == "字".encode()
    assert transcoder.finish() == b""


def test_target_that_lacks_a_character_gets_a_question_mark() -> None:
    """A Chinese file name on a Western screen is question marks, not an error."""
    assert transcode("gbk", "cp1252", "a字b".encode("gbk")) == b"a?b"


def test_stateful_target_is_closed_at_the_end() -> None:
    """ISO-2022-JP returns to ASCII at the end of the text."""
    assert transcode("utf-8", "iso2022_jp", "字".encode()) == "字".encode("iso2022_jp")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_missing_byte_order_mark_means_the_native_order(encoding: str) -> None:
    """UTF-16 without its mark is decoded, in this machine's order, in one piece or many."""
    order = "le" if sys.byteorder == "little" else "be"
    data = "ab字".encode(f"{encoding}-{order}")
    assert transcode(encoding, "utf-8", data[:1], data[1:5], data[5:]).decode() == "ab字"


@pytest.mark.parametrize(("name", "preferred"), [("UTF8", "utf-8"), ("CP936", "gbk"), ("latin1", "iso8859-1")])
def test_code_page_has_one_preferred_name(name: str, preferred: str) -> None:
    """All names of a code page lead to one."""
    assert text_codec(name) == preferred


@pytest.mark.parametrize(
    "name", ["klingon", "", "a\0b", "base64", "rot13", "hex", "idna", "punycode", "undefined", "unicode_escape"]
)
def test_other_codecs_are_no_code_pages(name: str) -> None:
    """Codecs that do not make text, or that raise whatever they are told, are unknown."""
    with pytest.raises(LookupError, match="no such code page"):
        text_codec(name)
    with pytest.raises(LookupError):
        Transcoder(name, "utf-8")
    with pytest.raises(LookupError):
        Transcoder("utf-8", name)


@given(
    encoding=st.sampled_from(["utf-8", "gbk", "gb18030", "cp932", "latin-1", "ascii"]),
    data=st.binary(),
    text=st.text(st.sampled_from("a\n汉é")),
)
def test_decoding_for_a_program_loses_no_byte(encoding: str, data: bytes, text: str) -> None:
    """Undefined bytes become surrogate escapes; what decodes to them without ambiguity encodes back."""
    good = text.encode(encoding, "ignore")
    assert decode_text(good, encoding) == good.decode(encoding)
    decoded = decode_text(data, encoding)
    if encoding in {"utf-8", "latin-1", "ascii"}:
        assert decoded.encode(encoding, "surrogateescape") == data


@given(encoding=st.sampled_from([*ODD_CODE_PAGES, "utf-16", "utf-16-le", "idna", ""]), data=st.binary())
def test_decoding_for_a_program_never_raises(encoding: str, data: bytes) -> None:
    """Code pages without surrogate escapes, and names that are none, still give text."""
    assert isinstance(decode_text(data, encoding), str)


def test_fallbacks_of_decoding() -> None:
    """UTF-16 shows U+FFFD for its errors; an unknown code page keeps ASCII and escapes the rest."""
    assert decode_text(b"a\x00\x00\xdcb\x00", "utf-16-le") == "a\ufffdb"
    assert decode_text(b"a\xff", "klingon") == "a\udcff"
