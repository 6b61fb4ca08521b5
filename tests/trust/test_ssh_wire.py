"""Tests of the values of SSH's wire format, from hostile input."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_rsh.trust.ssh_wire import BadWire, decode_mpint, encode_mpint, encode_string, split_strings


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (0, "00000000"),
        (1, "0000000101"),
        (0x7F, "000000017f"),
        (0x80, "000000020080"),
        (0x9A378F9B2E332A7, "0000000809a378f9b2e332a7"),
    ],
)
def test_mpint_examples(number: int, encoded: str) -> None:
    """The examples of RFC 4251, section 5, and the numbers around the sign bit."""
    assert encode_mpint(number) == bytes.fromhex(encoded)
    assert decode_mpint(bytes.fromhex(encoded)[4:]) == number


@pytest.mark.parametrize("encoded", ["00", "0001", "007f", "80", "ff", "edcc", "ff2152411111"])
def test_wrong_mpints(encoded: str) -> None:
    """A-05: negative numbers and those with a needless zero are refused."""
    with pytest.raises(BadWire):
        decode_mpint(bytes.fromhex(encoded))


@settings(derandomize=True, deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=5))
def test_strings_are_split_as_they_were_joined(strings: list[bytes]) -> None:
    """Strings survive being written and read."""
    assert split_strings(b"".join(map(encode_string, strings))) == strings


@pytest.mark.parametrize("data", ["00", "000000", "00000001", "0000000201", "ffffffff00", "000000000000"])
def test_wrong_strings(data: str) -> None:
    """A length that is cut short or points beyond the end is refused."""
    with pytest.raises(BadWire):
        split_strings(bytes.fromhex(data))


@settings(derandomize=True, deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes(data: bytes) -> None:
    """Whatever is accepted is what would have been written: there is one encoding of everything."""
    try:
        assert b"".join(map(encode_string, split_strings(data))) == data
        assert encode_mpint(decode_mpint(data)) == encode_string(data)
    except BadWire:
        return
