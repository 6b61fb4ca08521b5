"""Lists of hosts: what they stand for, what is refused, and how they are written short."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_rsh.fleet.host_lists import (
    MAX_GROUP_DEPTH,
    MAX_HOSTS,
    BadHostList,
    fold_hosts,
    parse_groups,
    read_host_file,
    resolve_hosts,
    split_parts,
)

GROUPS = """
web: web[01-03]   # the front
db: db1, db2
db: db3
all: @web, @db
spared: @all, !web02, !@db
"""


def hosts(text: str, groups: str = GROUPS) -> list[str]:
    """Return the hosts of a list."""
    return list(resolve_hosts(split_parts(text), parse_groups(groups.split("\n"), "groups")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", "a"),
        ("a, b,a,", "a b"),
        ("B,b,x@B,X@b", "B x@B X@b"),
        ("web[1-3]", "web1 web2 web3"),
        ("web[08-11]", "web08 web09 web10 web11"),
        ("web[8-11]", "web8 web9 web10 web11"),
        ("web[099-101,7]", "web099 web100 web101 web7"),
        ("web[01-02,04].example.org:90", "web01.example.org:90 web02.example.org:90 web04.example.org:90"),
        ("r[1-2]n[1,3]", "r1n1 r1n3 r2n1 r2n3"),
        ("bob@10.0.0.[9-10]", "bob@10.0.0.9 bob@10.0.0.10"),
        ("[1-2].example.org", "1.example.org 2.example.org"),
        ("[::1]:90,::1,[fe80::1%eth0]", "[::1]:90 ::1 [fe80::1%eth0]"),
        ("@web", "web01 web02 web03"),
        ("@all", "web01 web02 web03 db1 db2 db3"),
        ("@spared,x", "web01 web03 x"),
        ("!web02,@web", "web01 web03"),
        ("web[1-5],!web[3-4]", "web1 web2 web5"),
        ("bob@web1:90,web2,!web1", "web2"),
        ("[::1]:90,web2,!::1", "web2"),
        ("@web,!@db", "web01 web02 web03"),
        ("WEB1,web2,!web1", "web2"),
        ("web[0-0]", "web0"),
    ],
)
def test_lists(text: str, expected: str) -> None:
    """Ranges keep their zeros, groups nest, each host is there once, and an exclusion counts wherever it stands."""
    assert hosts(text) == expected.split(" ")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a,,b", "without a name"),
        (",", "without a name"),
        ("web[1-3", "not closed"),
        ("web1-3]", "a bracket without another"),
        ("web[[1-2]]", "a bracket without another"),
        ("web[]", "not a range"),
        ("web[a-b]", "not a range"),
        ("web[1-]", "not a range"),
        ("web[-1]", "not a range"),
        ("web[1-2-3]", "not a range"),
        ("web[\u0661-\u0663]", "not a range"),
        ("web[5-1]", "upwards"),
        ("web[1-010]", "as many digits"),
        ("web[1-9999999999]", "not a range"),
        ("@nosuch", "no such group: 'nosuch'"),
        ("@", "no such group: ''"),
        ("@web,!web9", "'!web9' is none of the hosts"),
        ("web1,!web1", "no host is left"),
        ("!@web", "no host is left"),
    ],
)
def test_wrong_lists(text: str, part: str) -> None:
    """A wrong list is one line that names what is wrong, also an exclusion that would spare nothing."""
    with pytest.raises(BadHostList, match=r".") as caught:
        hosts(text)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", [f"n[1-{MAX_HOSTS + 1}]", "n[1-101]m[1-100]", f"a,n[1-{MAX_HOSTS}]", "n[1-999999999]" * 20]
)
def test_too_many(text: str) -> None:
    """One host more than the bound is refused, and a range of a thousand million costs no time."""
    start = time.perf_counter()
    with pytest.raises(BadHostList, match=f"more than {MAX_HOSTS} hosts"):
        hosts(text)
    assert time.perf_counter() - start < 1
    assert len(hosts(f"n[1-{MAX_HOSTS}]")) == MAX_HOSTS


def test_groups_that_contain_each_other() -> None:
    """A loop of groups is named, and so is a row that is too long; the longest row works."""
    with pytest.raises(BadHostList, match=r"^groups line 2: the group 'a' contains itself$"):
        hosts("@a", "a: @b\nb: @a")
    row = "\n".join(f"g{number}: @g{number + 1}" for number in range(MAX_GROUP_DEPTH + 1))
    with pytest.raises(BadHostList, match=f"more than {MAX_GROUP_DEPTH} groups"):
        hosts("@g0", f"{row}\ng{MAX_GROUP_DEPTH + 1}: x")
    assert hosts("@g2", f"{row}\ng{MAX_GROUP_DEPTH + 1}: x") == ["x"]
    many = "\n".join(f"g{number}: @g{number + 1},@g{number + 1}" for number in range(MAX_GROUP_DEPTH - 1))
    assert hosts("@g0", f"{many}\ng{MAX_GROUP_DEPTH - 1}: x") == ["x"]


def test_files() -> None:
    """A file has a list in each line, and comments; a wrong line is named with its file and its number."""
    parts = read_host_file(["# all", "web[1-2]  # front", "", "  bob@db:90", "!web1"], "hosts")
    assert resolve_hosts(parts, {}) == ("web2", "bob@db:90")
    with pytest.raises(BadHostList, match=r"^hosts line 2: not a range"):
        resolve_hosts(read_host_file(["a", "web[x]"], "hosts"), {})
    with pytest.raises(BadHostList, match=r"^groups line 1: not a group: 'web web1': write NAME: HOST, HOST$"):
        parse_groups(["web web1"], "groups")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("web01 web02 web03 web12", "web[01-03,12]"),
        ("web9 web10 web11", "web[9-11]"),
        ("web1 web01", "web[1,01]"),
        ("r1n1 r1n2 r2n1 r2n2", "r[1-2]n[1-2]"),
        ("r1n1 r1n2 r2n1", "r1n[1-2],r2n1"),
        ("a b web1", "a,b,web1"),
        ("web1:90 web2:90", "web[1-2]:90"),
        ("::1 [::2]:90 web1", "web1,::1,[::2]:90"),
        ("n0999999999 n1000000000 n1000000001", "n0999999999,n1000000000,n1000000001"),
    ],
)
def test_folding(names: str, expected: str) -> None:
    """Names that differ in numbers are one name with ranges, as a list has them."""
    assert fold_hosts(names.split()) == expected


@settings(max_examples=40)
@given(st.lists(st.from_regex(r"\A[a-z]{0,2}[0-9]{1,3}(-[0-9]{1,2}|)(\.x|:9|)\Z"), min_size=1, max_size=30))
def test_folded_hosts_are_the_same(names: list[str]) -> None:
    """Reading a folded list gives the hosts that were folded, each once."""
    folded = resolve_hosts(split_parts(fold_hosts(names)), {})
    assert sorted(folded) == sorted(set(names))
