"""F-11: every decoder, given random bytes and spoilt ones of its own kind, raises its own errors and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS
from tests.system.running import own_environment

ROOT = Path(__file__).parent.parent

PROPERTY = settings(derandomize=True, deadline=None, max_examples=150)

PIECES = st.one_of(
    st.binary(max_size=4),
    st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x80", b"\n", b'"', b"{", b"[" * 2000, b"1e9", b"9" * 5000]),
)
"""What spoils an input."""


@st.composite
def spoilt(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Draw an input of which some bytes were changed, cut off, repeated or added."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 5))):
        where = draw(st.integers(0, len(data)))
        data[where : where + draw(st.integers(0, 4))] = draw(PIECES)
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


# pytest-twisted wraps a Hypothesis test anew for every parameter, which works only once; hence the inner function.


# cryptography warns about some certificates that it reads, such as those with a negative serial number.
@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", TARGETS)
def test_a_decoder(name: str) -> None:
    """F-11: whatever it is given, it takes it or says why not in its own words."""
    target = TARGETS[name]
    for seed in target.seeds:
        target.run(seed)

    @PROPERTY
    @given(data=st.one_of(st.binary(max_size=300), spoilt(target.seeds)))
    def check(data: bytes) -> None:
        target.run(data)

    check()


def run(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the fuzzer's program as by hand."""
    return subprocess.run(
        [sys.executable, str(ROOT / "fuzz" / "run.py"), *words],
        env=own_environment(tmp_path, **environment),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_program_names_its_targets(tmp_path: Path) -> None:
    """It can be asked what there is to fuzz, also without atheris."""
    assert run(tmp_path, "--list").stdout.split() == list(TARGETS)


def test_the_program_without_atheris(tmp_path: Path) -> None:
    """Where atheris is missing, it says in one line how to install it."""
    (tmp_path / "atheris.py").write_text("raise ImportError\n")
    done = run(tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "pip install atheris" in done.stderr
    assert done.stderr.count("\n") == 1
