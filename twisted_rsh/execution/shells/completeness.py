"""How much of a text is complete: a plain POSIX shell that has read it is at its prompt and waits for nothing more.

A text can only be typed as it is if it is complete.  Of an open quote, ``true &&`` or ``cat <<E`` without its end, the
shell would take the lines after it for a part.  The answer errs on the safe side: lines count as complete only
where there is no doubt about it.  A syntax error makes a text complete as well: there the shell forgets the rest.

Sources: Shell Command Language (POSIX.1-2017, XCU chapter 2); dash(1), which takes ``$((`` for arithmetic always.
"""

from __future__ import annotations

import functools
import re

__all__ = ["complete_size"]

_DOLLAR = rb"\$(?:[\w?#]|\{#?\w+\}|\(\((?:[\w\s+*/%<>=!&|?:~^,-]|\$\w)*\)\))"
_WORD = rb"(?:[\w./=,+@%%:~^*?\[\]!-]|'[^']*'|\"(?:[^\"`$\\]|%s)*\"|%s)+" % (_DOLLAR, _DOLLAR)
_SIMPLE = (
    rb"(?!(?:if|then|elif|else|fi|for|while|until|do|done|case|esac|!)(?![\w./=,+@%%:~^*?\[\]'\"$-]))"
    rb"%s(?: +%s| *(?:>>|[<>]) *%s| *[<>]&[\d-])*" % (_WORD, _WORD, _WORD)
)
_SIMPLE_AT_ONCE = re.compile(_SIMPLE + rb"(?=[ \t]*[;&|\n)])")
_PLAIN = re.compile(rb"\s*%s(?: *(?:;|&&|\|\|?|\n+) *%s)* *;?\s*" % (_SIMPLE, _SIMPLE))
"""Simple commands in a row: what most texts are, found complete at once.  A character can match in one way only, so
that no text takes long."""

_TOKEN = re.compile(rb"(?:[ \t]|\\\n|#(?<![^\s;&|()]#)[^\n]*)*(&&|\|\||;;|<<-?|>>|<&|>&|<>|>\||[;&|()<>\n])?")
"""Blanks and a comment, and an operator if one follows."""

_RUN = re.compile(rb"[^\s;&|()<>'\"\\$`]+")
_QUOTED_RUN = re.compile(rb"[^\"\\$`]+")
_ARITHMETIC_RUN = re.compile(rb"[^()\\$`'\"]+")
_BACKQUOTED = re.compile(rb"((?:[^\\`]|\\.)*)`", re.DOTALL)
_PARAMETER_RUN = re.compile(rb"[^}'\"\\$`]+")
_NAME = re.compile(rb"[A-Za-z_]\w*")

_REDIRECTIONS = frozenset({b"<", b">", b">>", b"<&", b">&", b"<>", b">|", b"<<", b"<<-"})
_SEPARATORS = frozenset({b";", b"&", b"\n"})
_CLOSING = frozenset({b"then", b"else", b"elif", b"fi", b"do", b"done", b"esac", b"}"})
_MAX_COMMANDS = 400
"""Commands that are looked at, 10 ms at worst."""

_MAX_DEPTH = 40
"""Constructs within one another: enough for what people write, and far from the end of Python's own stack."""


class _Unsure(Exception):
    """The text ends too early, or its meaning is in doubt."""


class _Wrong(Exception):
    """The shell reports a syntax error."""


_REMEMBERED = 128
"""Texts whose answer is remembered, for programs that run the same ones again and again."""


@functools.lru_cache(_REMEMBERED)
def complete_size(text: bytes) -> int:
    """Return how much of a text is complete.

    :param text: a command without NUL.  The time is bounded by its length: 10 ms for 3 KB at worst.
    :returns: bytes from its beginning up to the end of a line.  If it is the size of the text, a shell that has read
        the text and a newline after it certainly takes the next line for a new one.  Else what follows is not
        complete, or there is doubt about it; the shell executes none of that before it has read on.
    """
    if _PLAIN.fullmatch(text):
        return len(text)
    reader = _Reader(text + b"\n")
    try:
        reader.read_all()
    except _Unsure:
        return reader.complete
    except _Wrong:
        pass
    return len(text)


class _Reader:
    """Reads a text from front to back, as a shell's parser does.

    :param text: the text, with a newline at its end.
    :ivar complete: bytes of the complete lines so far.
    """

    def __init__(self, text: bytes) -> None:
        self.complete = 0
        self._text = text
        self._at = 0
        self._token_at = -1
        self._operator = b""
        self._depth = 0
        self._commands = 0
        self._word = b""
        self._documents: list[tuple[bytes, bool, bool]] = []

    def read_all(self) -> None:
        """Read commands up to the end of the text."""
        while self._at < len(self._text):
            self.complete = self._at
            self._list(frozenset(), at_top=True)
        if self._documents:
            raise _Unsure

    # Tokens

    def _token(self) -> bytes:
        """Consume blanks, and return the operator that comes next; empty before a word or the end."""
        if self._at != self._token_at:
            found = _TOKEN.match(self._text, self._at)
            assert found is not None  # it matches nothing at all, too
            self._operator = found.group(1) or b""
            self._at = self._token_at = found.end() - len(self._operator)
        return self._operator

    def _peek(self) -> bytes:
        """Return the token that comes next: an operator, or a word without any quoting; ``''`` for any other word."""
        token = self._token()
        if token:
            return token
        if self._at >= len(self._text):
            raise _Unsure
        found = _RUN.match(self._text, self._at)
        if found is None:
            return b"''"
        after = self._text[found.end() : found.end() + 1]
        return b"''" if after and after in b"'\"\\$`" else found.group()

    def _take(self, token: bytes) -> None:
        self._at += len(token)
        if token == b"\n" and self._documents:
            self._read_documents()

    def _newlines(self) -> None:
        while self._token() == b"\n":
            self._take(b"\n")

    def _expect(self, token: bytes) -> None:
        if self._peek() != token:
            raise _Wrong
        self._take(token)

    # Grammar

    def _list(self, ends: frozenset[bytes], *, at_top: bool = False) -> None:
        """Read commands up to one of the closing tokens, which is not consumed; at the top up to a line's end."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _Unsure
        is_empty = True
        while True:
            if not at_top:
                self._newlines()
            token = self._peek()
            if token in ends:
                if is_empty and token != b";;" and b"esac" not in ends:
                    raise _Wrong
                break
            if at_top and token == b"\n":
                self._take(token)
                break
            self._and_or()
            is_empty = False
            token = self._peek()
            if token in _SEPARATORS:
                self._take(token)
                if at_top and token == b"\n":
                    break
            elif token not in ends:
                raise _Wrong
        self._depth -= 1

    def _and_or(self) -> None:
        while True:
            self._pipeline()
            token = self._token()
            if token not in (b"&&", b"||"):
                return
            self._take(token)
            self._newlines()

    def _pipeline(self) -> None:
        if self._peek() == b"!":
            self._take(b"!")
        while True:
            self._command()
            if self._token() != b"|":
                return
            self._take(b"|")
            self._newlines()

    def _command(self) -> None:
        token = self._peek()
        self._commands += 1
        if self._commands > _MAX_COMMANDS:
            raise _Unsure
        compound = {
            b"if": self._if,
            b"while": self._while,
            b"until": self._while,
            b"for": self._for,
            b"case": self._case,
            b"{": self._braces,
            b"(": self._subshell,
        }.get(token)
        if compound is not None:
            self._take(token)
            compound()
            while self._redirection():
                pass
        elif token in _CLOSING or (self._token() and token not in _REDIRECTIONS):
            raise _Wrong
        else:
            self._simple()

    def _simple(self) -> None:
        found = _SIMPLE_AT_ONCE.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
            return
        first = True
        while True:
            if self._redirection():
                first = False
                continue
            token = self._token()
            if token == b"(":
                raise _Unsure if first else _Wrong
            if token:
                return
            self._read_word()
            if first and self._token() == b"(":
                if not _NAME.fullmatch(self._word):
                    raise _Unsure
                self._take(b"(")
                self._expect(b")")
                self._newlines()
                self._command()
                return
            first = False

    def _redirection(self) -> bool:
        if not self._token() and not self._text[self._at : self._at + 1].isdigit():
            return False
        digits = 0
        while self._text[self._at + digits : self._at + digits + 1].isdigit():
            digits += 1
        if digits and self._text[self._at + digits : self._at + digits + 1] not in (b"<", b">"):
            return False
        self._at += digits
        token = self._token()
        if token not in _REDIRECTIONS:
            self._at -= digits
            return False
        self._take(token)
        if self._token():
            raise _Wrong
        start = self._at
        self._read_word()
        if token.startswith(b"<<"):
            raw = self._text[start : self._at]
            if b"$" in raw or b"`" in raw or b"\n" in raw:
                raise _Unsure
            mark = re.sub(rb"\\(.)|['\"]", rb"\1", raw, flags=re.DOTALL)
            self._documents.append((mark, mark == raw, token == b"<<-"))
        return True

    def _if(self) -> None:
        while True:
            self._list(frozenset({b"then"}))
            self._take(b"then")
            self._list(frozenset({b"elif", b"else", b"fi"}))
            token = self._peek()
            self._take(token)
            if token == b"else":
                self._list(frozenset({b"fi"}))
                self._take(b"fi")
            if token != b"elif":
                return

    def _while(self) -> None:
        self._list(frozenset({b"do"}))
        self._do()

    def _do(self) -> None:
        self._expect(b"do")
        self._list(frozenset({b"done"}))
        self._take(b"done")

    def _for(self) -> None:
        name = self._peek()
        if not _NAME.fullmatch(name):
            raise _Wrong
        self._take(name)
        had_separator = self._token() == b";"
        if had_separator:
            self._take(b";")
        self._newlines()
        if not had_separator and self._peek() == b"in":
            self._take(b"in")
            while not self._token():
                self._read_word()
            token = self._token()
            if token not in (b";", b"\n"):
                raise _Wrong
            self._take(token)
        self._newlines()
        self._do()

    def _case(self) -> None:
        if self._token():
            raise _Wrong
        self._read_word()
        self._newlines()
        self._expect(b"in")
        while True:
            self._newlines()
            token = self._peek()
            if token == b"esac":
                self._take(token)
                return
            if token == b"(":
                self._take(token)
            while True:
                if self._token():
                    raise _Wrong
                self._read_word()
                token = self._token()
                if token not in (b"|", b")"):
                    raise _Wrong
                self._take(token)
                if token == b")":
                    break
            self._list(frozenset({b";;", b"esac"}))
            if self._peek() == b";;":
                self._take(b";;")

    def _braces(self) -> None:
        self._list(frozenset({b"}"}))
        self._take(b"}")

    def _subshell(self) -> None:
        self._list(frozenset({b")"}))
        self._take(b")")

    # Documents

    def _read_documents(self) -> None:
        """Read the bodies of the here-documents of the line that has ended."""
        documents, self._documents = self._documents, []
        for mark, is_expanded, strips in documents:
            start = self._at
            while True:
                end = self._text.find(b"\n", self._at)
                if end < 0:
                    raise _Unsure
                line = self._text[self._at : end]
                if (line.lstrip(b"\t") if strips else line) == mark:
                    break
                self._at = end + 1
            body = self._text[start : self._at]
            if is_expanded and (b"\\\n" in body or b"`" in body or b"$(" in body or b"${" in body):
                self._check_body(body)
            self._at = end + 1

    def _check_body(self, body: bytes) -> None:
        """Raise unless the shell finds the end of an expanded body where it seems to be."""
        if b"\\\n" in body:
            raise _Unsure
        reader = _Reader(body + b'"')
        reader._depth = self._depth + 1
        while reader._at < len(body):
            reader._read_quoted()
            if reader._at < len(body) and reader._text[reader._at :][:1] == b'"':
                reader._at += 1

    # Words

    def _read_word(self) -> None:
        """Read one word, which must be there; keep it if it has no quoting."""
        text = self._text
        start = self._at
        while True:
            found = _RUN.match(text, self._at)
            if found is not None:
                self._at = found.end()
            head = text[self._at : self._at + 1]
            if head in (b"'", b'"'):
                self._quotation(head)
            elif head in (b"\\", b"$", b"`"):
                self._special(in_quotes=False)
            else:
                break
        if self._at == start:
            raise _Unsure
        self._word = text[start : self._at]
        if self._at >= len(text):
            raise _Unsure  # the newline after the text has gone into it

    def _quotation(self, mark: bytes) -> None:
        """Read a quotation with its two marks."""
        self._at += 1
        if mark == b'"':
            self._read_quoted()
        else:
            self._at = self._text.find(mark, self._at)
            if self._at < 0:
                raise _Unsure
        self._at += 1

    def _read_quoted(self) -> None:
        """Read up to the next double quote, which is not consumed."""
        while True:
            found = _QUOTED_RUN.match(self._text, self._at)
            if found is not None:
                self._at = found.end()
            head = self._text[self._at : self._at + 1]
            if head == b'"':
                return
            self._special(in_quotes=True)

    def _special(self, *, in_quotes: bool) -> None:
        """Read what begins with a backslash, a dollar or a backquote."""
        text = self._text
        head = text[self._at : self._at + 1]
        if not head:
            raise _Unsure
        if head == b"\\":
            self._at += 2
            if self._at >= len(text):
                raise _Unsure
        elif head == b"`":
            found = _BACKQUOTED.match(text, self._at + 1)
            if found is None:
                raise _Unsure
            inner = re.sub(rb"\\([\\`$\"])" if in_quotes else rb"\\([\\`$])", rb"\1", found.group(1))
            self._inner(inner)
            self._at = found.end()
        else:
            self._dollar(in_quotes=in_quotes)

    def _dollar(self, *, in_quotes: bool) -> None:
        text = self._text
        if text.startswith(b"$((", self._at):
            self._at += 3
            self._arithmetic()
        elif text.startswith(b"$(", self._at):
            self._at += 2
            documents, self._documents = self._documents, []
            if documents:
                raise _Unsure
            self._substitution()
            if self._documents:
                raise _Unsure
        elif text.startswith(b"${", self._at):
            self._at += 2
            self._parameter(in_quotes=in_quotes)
        else:
            self._at += 1

    def _inner(self, text: bytes) -> None:
        reader = _Reader(text + b"\n")
        reader._depth = self._depth + 1
        try:
            reader.read_all()
        except _Wrong:
            raise _Unsure from None

    def _substitution(self) -> None:
        self._newlines()
        if self._peek() != b")":
            self._list(frozenset({b")"}))
        self._take(b")")

    def _arithmetic(self) -> None:
        open_brackets = 0
        while True:
            found = _ARITHMETIC_RUN.match(self._text, self._at)
            if found is not None:
                self._at = found.end()
            head = self._text[self._at : self._at + 1]
            if head in (b"'", b'"'):
                raise _Unsure
            if head == b"(":
                open_brackets += 1
                self._at += 1
            elif head == b")":
                self._at += 1
                if open_brackets:
                    open_brackets -= 1
                elif self._text[self._at : self._at + 1] == b")":
                    self._at += 1
                    return
                else:
                    raise _Unsure
            else:
                self._special(in_quotes=True)

    def _parameter(self, *, in_quotes: bool) -> None:
        while True:
            found = _PARAMETER_RUN.match(self._text, self._at)
            if found is not None:
                self._at = found.end()
            head = self._text[self._at : self._at + 1]
            if head == b"}":
                self._at += 1
                return
            if head in (b"'", b'"'):
                if in_quotes:
                    raise _Unsure
                self._quotation(head)
            else:
                self._special(in_quotes=in_quotes)
