"""A-15: the client's side of ssh-agent: an agent that dies, lies or hangs is one line, and never a weaker login."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from tests.client.agents import FAILURE, IDENTITIES, SIGN, SIGNED, FakeAgent, listing
from tests.serving import Serving, asynchronous, reactor
from tests.tools import require_tool
from tests.trust.authenticator import SK_TYPES, Authenticator
from tests.trust.keys import EXPORTER, SPKI, key_blob, signature, string
from twisted_rsh import Connection, LoginRefused, WrongServer, connect
from twisted_rsh.client import agent as agent_module
from twisted_rsh.client.agent import MAX_AGENT_KEYS, MAX_ANSWER_BYTES, AgentFailure, AgentKey, KeyAgent
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.ssh_keys import parse_public_key, public_line
from twisted_rsh.trust.sshsig import verify_login

BLOB = key_blob("ssh-ed25519")


async def failure(folder: Path, answer: bytes, ask: Callable[[KeyAgent], Awaitable[object]]) -> str:
    """Return the line that an answer of the agent leads to, which names the agent."""
    async with asked(folder, lambda _: answer) as (fake, agent):
        with pytest.raises(AgentFailure) as caught:
            await ask(agent)
    line = str(caught.value)
    assert line.startswith(f"the agent at {fake.path} ")
    assert "\n" not in line
    return line


@asynccontextmanager
async def asked(folder: Path, answer: Callable[[bytes], bytes | None]) -> AsyncIterator[tuple[FakeAgent, KeyAgent]]:
    """Run a fake agent; give it and what asks it."""
    fake = FakeAgent(folder, answer)
    try:
        yield fake, KeyAgent(reactor, fake.path)
    finally:
        await fake.stop()


def sign(agent: KeyAgent, blob: bytes) -> Awaitable[bytes]:
    """Let the agent sign a login with a key."""
    return AgentKey(parse_public_key(blob), blob, agent).sign_login(EXPORTER, SPKI, "alice")


def honest(algorithm: str) -> Callable[[bytes], bytes]:
    """An agent that has one key and signs what it is asked to sign."""

    def answer(request: bytes) -> bytes:
        blob = key_blob(algorithm)
        if request[0] == IDENTITIES:
            return string(listing(blob))
        assert request.startswith(bytes([SIGN]) + string(blob))
        data, flags = request[5 + len(blob) + 4 : -4], request[-4:]
        assert flags == (b"\0\0\0\4" if algorithm == "rsa-sha2-512" else b"\0\0\0\0")
        return string(bytes([SIGNED]) + string(signature(algorithm, data)))

    return answer


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp521", "rsa-sha2-512"])
@asynchronous
async def test_a_login_that_the_agent_signs(tmp_path: Path, algorithm: str) -> None:
    """A-16: the agent's signature is one of a login, RSA with SHA-512."""
    async with asked(tmp_path, honest(algorithm)) as (_, agent):
        (key,) = await agent.keys()
        signed = await key.sign_login(EXPORTER, SPKI, "alice")
    assert key.algorithm == algorithm
    verify_login(key.blob, algorithm, signed, exporter=EXPORTER, server_spki_sha256=SPKI, user="alice")


@pytest.mark.parametrize("key_type", SK_TYPES)
@asynchronous
async def test_an_authenticator_behind_the_agent(tmp_path: Path, key_type: str) -> None:
    """The client signs with a FIDO authenticator through the agent."""
    one = Authenticator(key_type)

    def answer(request: bytes) -> bytes:
        if request[0] == IDENTITIES:
            return string(listing(one.blob))
        return string(bytes([SIGNED]) + string(one.sign(request[9 + len(one.blob) : -4])))

    async with asked(tmp_path, answer) as (_, agent):
        (key,) = await agent.keys()
        signed = await key.sign_login(EXPORTER, SPKI, "alice")
    verify_login(one.blob, key_type, signed, exporter=EXPORTER, server_spki_sha256=SPKI, user="alice")


@asynchronous
async def test_keys_that_no_login_takes_are_left_out(tmp_path: Path) -> None:
    """Keys of other kinds, weak ones and broken ones are no keys to log in with; the others keep their order."""
    odd = string(b"ssh-dss") + string(b"\1") * 4
    others = (key_blob("ecdsa-sha2-nistp384"), BLOB)
    async with asked(tmp_path, lambda _: string(listing(odd, others[0], b"", others[1], BLOB[:-1]))) as (_, agent):
        assert tuple(key.blob for key in await agent.keys()) == others


WRONG_LISTS = {
    "nothing": (b"", "without an answer"),
    "no type": (string(b""), "0 bytes"),
    "another answer": (string(bytes([SIGNED])), "none of an agent's"),
    "a refusal": (string(bytes([FAILURE])), "refused to say"),
    "cut short": (string(listing(BLOB)[:-1]), "none of an agent's"),
    "more behind": (string(listing(BLOB) + b"\0"), "none of an agent's"),
    "a huge count": (string(bytes([12]) + (MAX_AGENT_KEYS + 1).to_bytes(4, "big")), f"{MAX_AGENT_KEYS + 1} keys"),
    "a long key": (string(bytes([12]) + b"\0\0\0\1\xff\xff\xff\xff"), "none of an agent's"),
    "4 GiB": (b"\xff\xff\xff\xff", "4294967295 bytes"),
    "one byte too long": ((MAX_ANSWER_BYTES + 1).to_bytes(4, "big"), f"{MAX_ANSWER_BYTES + 1} bytes"),
    "twice": (string(listing(BLOB)) * 2, "more than one answer"),
    "text": (b"SSH-2.0-OpenSSH_9.2\r\n", "1397966893 bytes"),
}


@pytest.mark.parametrize("case", WRONG_LISTS)
@asynchronous
async def test_wrong_lists(tmp_path: Path, case: str) -> None:
    """Whatever an agent answers in place of its keys is one line that names the agent and what is wrong."""
    answer, said = WRONG_LISTS[case]
    assert said in await failure(tmp_path, answer, KeyAgent.keys)


@asynchronous
async def test_the_longest_answer(tmp_path: Path) -> None:
    """An answer at the bound is read."""
    filler = MAX_ANSWER_BYTES - len(listing(BLOB)) - len(string(b"") + string(b"c"))
    async with asked(tmp_path, lambda _: string(listing(b"\0" * filler, BLOB))) as (_, agent):
        assert [key.blob for key in await agent.keys()] == [BLOB]


WRONG_SIGNATURES = {
    "of other data": (string(bytes([SIGNED]) + string(signature("ssh-ed25519", b"other"))), "wrong signature"),
    "by another key": (string(bytes([SIGNED]) + string(signature("ssh-ed25519", b"other", 1))), "wrong signature"),
    "junk": (string(bytes([SIGNED]) + string(b"junk")), "wrong signature"),
    "a refusal": (string(bytes([FAILURE])), "refused to sign"),
    "the keys again": (string(listing(BLOB)), "none of an agent's"),
    "cut short": (string(bytes([SIGNED]) + b"\0\0\0\5abcd"), "none of an agent's"),
    "more behind": (string(bytes([SIGNED]) + string(b"") + b"\0"), "none of an agent's"),
    "a death": (b"", "without an answer"),
}


@pytest.mark.parametrize("case", WRONG_SIGNATURES)
@asynchronous
async def test_wrong_signatures(tmp_path: Path, case: str) -> None:
    """A signature that is none, and whatever comes in its place, is one line, before anything goes to a server."""
    answer, said = WRONG_SIGNATURES[case]
    assert said in await failure(tmp_path, answer, lambda agent: sign(agent, BLOB))


@asynchronous
async def test_sha1_is_no_signature(tmp_path: Path) -> None:
    """A-16: an agent that ignores the flag and signs with SHA-1 has given a wrong signature."""
    blob = key_blob("rsa-sha2-512")

    def answer(request: bytes) -> bytes:
        return string(bytes([SIGNED]) + string(signature("ssh-rsa", request[9 + len(blob) : -4])))

    async with asked(tmp_path, answer) as (_, agent):
        with pytest.raises(AgentFailure, match="by another algorithm"):
            await sign(agent, blob)


@pytest.mark.parametrize("kind", ["missing", "file", "deaf", "long"])
@asynchronous
async def test_no_agent_there(tmp_path: Path, kind: str) -> None:
    """A path without an agent behind it is one line: nothing there, a file, a socket of none, a path too long."""
    path = tmp_path / ("long" * 60 if kind == "long" else "agent")
    if kind == "file":
        path.write_text("")
    elif kind == "deaf":
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(str(path))
    with pytest.raises(AgentFailure, match=r"cannot be reached: .*; look at it with: ssh-add -l$"):
        await KeyAgent(reactor, str(path)).keys()


@asynchronous
async def test_an_agent_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that says nothing is given up after its time."""
    monkeypatch.setattr(agent_module, "AGENT_SECONDS", 0.2)
    async with asked(tmp_path, lambda _: None) as (_, agent):
        with pytest.raises(AgentFailure, match=r"has not answered for 0\.2 s"):
            await agent.keys()


@pytest.mark.uncut("the keys are tried before there is a session to cut")
@pytest.mark.parametrize("is_let_in", [True, False])
@asynchronous
async def test_other_keys_of_the_agent(config: ConfigFolders, tmp_path: Path, is_let_in: bool) -> None:
    """A-18: a key of the agent is tried once the server, whose key is right, has refused the client's own."""
    serving = Serving(config)
    await serving.start()
    path = Path(config.authorized_keys_path)
    path.write_text(f"{public_line(key_blob('ssh-ed25519', not is_let_in))}\n")
    path.chmod(0o600)
    other = ConfigFolders.at(str(tmp_path / "other"))
    own = load_or_create_client_key(other)
    async with asked(tmp_path, honest("ssh-ed25519")) as (fake, agent):

        def dial(fingerprint: str) -> Deferred[Connection]:
            where = ("127.0.0.1", serving.port)
            return connect(reactor, *where, config=other, fingerprint=fingerprint, other_keys=agent.keys)

        if is_let_in:
            connection = await dial(serving.service.fingerprint)
            assert (await connection.run("echo here")).text == "here\n"
            await connection.close()
        else:
            names = f"{own.fingerprint}, {parse_public_key(BLOB).fingerprint}"
            with pytest.raises(LoginRefused, match="with the keys") as caught:
                await dial(serving.service.fingerprint)
            assert names in str(caught.value)
        assert [request[0] for request in fake.requests] == [IDENTITIES, SIGN]
        fake.requests.clear()
        with pytest.raises(WrongServer, match="is not the expected server"):
            await dial(own.fingerprint)
        assert fake.requests == []
    with pytest.raises(LoginRefused, match=r"was refused by .*; the agent at .* cannot be reached"):
        await dial(serving.service.fingerprint)
    await serving.stop()


@contextmanager
def ssh_agent(folder: Path) -> Iterator[str]:
    """Run OpenSSH's agent; give its socket."""
    path = str(folder / "ssh-agent")
    with subprocess.Popen([require_tool("ssh-agent"), "-D", "-a", path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"SSH_AUTH_SOCK=")  # it listens
        try:
            yield path
        finally:
            process.terminate()


@pytest.mark.real
@pytest.mark.parametrize("words", [("ed25519",), ("ecdsa", "-b", "384"), ("rsa", "-b", "2048")], ids=lambda w: w[0])
@asynchronous
async def test_openssh_agent(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A-17: OpenSSH's agent signs logins with keys of each kind that it has, and refuses while it is locked."""
    file = str(tmp_path / "key")
    subprocess.run([require_tool("ssh-keygen"), "-q", "-t", *words, "-N", "", "-f", file], check=True)
    with ssh_agent(tmp_path) as path:
        environment = {**os.environ, "SSH_AUTH_SOCK": path}
        subprocess.run([require_tool("ssh-add"), "-q", file], env=environment, check=True)
        (key,) = await KeyAgent(reactor, path).keys()
        signed = await key.sign_login(EXPORTER, SPKI, "alice")
        verify_login(key.blob, key.algorithm, signed, exporter=EXPORTER, server_spki_sha256=SPKI, user="alice")
        subprocess.run(["ssh-add", "-q", "-D"], env=environment, check=True)
        with pytest.raises(AgentFailure, match="refused to sign"):
            await key.sign_login(EXPORTER, SPKI, "alice")
