"""The boundaries of events in zsh's language: the piece of a text that zsh parses, and then runs, at a time.

zsh reads a text line by line until it has a complete list, and runs that before it reads on.  A text of one event can
be given to zsh as it is.  In a text of several, an error has to end the rest, too, so the text must be run as a file.
"""

from __future__ import annotations

import re

__all__ = ["is_one_event"]

_BLANK = re.compile(rb"(?:[ \t]*(?:#[^\n]*)?\n)*[ \t]*(?:#[^\n]*)?")
_WORD = re.compile(rb"[^\s;&|()<>'\"`$\\]+")
_SINGLE = re.compile(rb"'[^']*'")
_ESCAPED = re.compile(rb"\$'(?:[^'\\]|\\.)*'", re.DOTALL)
_BACKQUOTED = re.compile(rb"`(?:[^`\\]|\\.)*`", re.DOTALL)
_HERE_DOCUMENT = re.compile(rb"<<(-?)[ \t]*(\\?[\w.-]+|'[^'\n]*'|\"[^\"\n\\$`]*\")")
_OPERATOR = re.compile(rb"&&|\|\||\|&|;;|;&|;\||&\||&!|[;&|]")

_JOINING = frozenset({b"&&", b"||", b"|", b"|&"})
_CLOSERS = {b"fi": b"if", b"done": b"do", b"esac": b"case", b"]]": b"[["}
_BEFORE_COMMANDS = frozenset({b"then", b"elif", b"else", b"time", b"!", b"coproc", b"always"})
_LOOPS = frozenset({b"for", b"select", b"while", b"until"})
_UNSURE = frozenset({b"repeat", b"foreach", b"end", b"nocorrect"})


class _Unsure(Exception):
    """The text has a form that this module does not follow."""


def is_one_event(text: bytes) -> bool:
    """Tell whether zsh parses a text as a whole before it runs any of it.

    :param text: the text of a command.
    :returns: ``True`` when it certainly does, and nothing but blank lines and comments follows; ``False`` when there
        are several events, or it is hard to tell.
    """
    if b"\n" not in text:
        return True
    try:
        end = _Scanner(text).first_end()
    except _Unsure:
        return False
    return _BLANK.fullmatch(text, end) is not None


class _Scanner:
    """Follows the syntax of one event: quotes, here-documents, and the compound commands that are open.

    :param text: the text.
    """

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0
        self._open: list[bytes] = []
        self._here_documents: list[tuple[bytes, bool]] = []
        self._is_command = True
        self._is_joined = False
        self._is_name = False

    def first_end(self) -> int:
        """Return where the first event ends: behind its newline.

        :raises _Unsure: the scanner cannot follow.
        """
        text = self._text
        if text[:1] in b"\n#" or text.lstrip(b" \t")[:1] in (b"\n", b"#"):
            raise _Unsure  # an empty event comes before the command
        while self._at < len(text):
            if text.startswith(b"\n", self._at):
                self._at += 1
                self._skip_here_documents()
                self._is_command = True
                if not (self._open or self._is_joined):
                    return self._at
                continue
            self._step()
        if self._open or self._is_joined or self._here_documents:
            raise _Unsure
        return self._at

    def _step(self) -> None:
        text, at = self._text, self._at
        character = text[at : at + 1]
        if character in b" \t\r":
            self._at += 1
        elif character == b"#" and (at == 0 or text[at - 1 : at] in (b" ", b"\t", b"\n", b";", b"&", b"|", b"(", b")")):
            end = text.find(b"\n", at)
            self._at = len(text) if end < 0 else end
        elif character in b"()":
            self._parenthesis(character)
        elif character in b"<>":
            self._redirection()
        elif character in b";&|":
            self._operator()
        else:
            self._is_joined = False
            self._word()

    def _parenthesis(self, character: bytes) -> None:
        self._is_joined = False
        if character == b"(":
            if self._text.startswith(b"((", self._at):
                self._skip_arithmetic(self._at)
                self._is_command = False
                return
            self._open.append(b"(")
        elif self._open and self._open[-1] == b"(":
            self._open.pop()
        elif not (self._open and self._open[-1] == b"case"):
            raise _Unsure
        self._at += 1
        self._is_command = True

    def _redirection(self) -> None:
        if self._text.startswith(b"<<<", self._at):
            self._at += 3
        elif self._text.startswith(b"<<", self._at):
            found = _HERE_DOCUMENT.match(self._text, self._at)
            if found is None:
                raise _Unsure
            self._here_documents.append((found[2].strip(b"'\"\\"), bool(found[1])))
            self._at = found.end()
        else:
            if self._text[self._at + 1 : self._at + 2] == b"(":  # a process substitution
                self._open.append(b"(")
                self._at += 1
            self._at += 1
            if self._text[self._at : self._at + 1] in (b"&", b"|", b"!"):
                self._at += 1

    def _operator(self) -> None:
        found = _OPERATOR.match(self._text, self._at)
        assert found is not None
        self._is_joined = found[0] in _JOINING
        self._is_command = True
        self._at = found.end()

    def _word(self) -> None:
        begin = self._at
        plain = True
        while self._at < len(self._text):
            found = _WORD.match(self._text, self._at)
            if found:
                self._at = found.end()
            elif self._text[self._at : self._at + 1] in (b"'", b'"', b"`", b"$", b"\\"):
                plain = False
                self._quoted()
            else:
                break
        word = self._text[begin : self._at] if plain else b""
        if self._text[self._at : self._at + 1] == b"(" and word.endswith((b"*", b"?", b"/")):
            raise _Unsure  # a glob qualifier
        self._keyword(word)

    def _keyword(self, word: bytes) -> None:
        top = self._open[-1] if self._open else b""
        if self._is_name:  # the name of a function
            self._is_name = False
            self._is_command = True
        elif word == b"}" and top == b"{":
            self._open.pop()
            self._is_command = True
        elif word == b"}" or (word.endswith(b"}") and b"{" not in word):
            raise _Unsure
        elif word == b"]]" and top == b"[[":
            self._open.pop()
            self._is_command = False
        elif self._is_command and top != b"[[":
            self._command_word(word, top)

    def _command_word(self, word: bytes, top: bytes) -> None:
        self._is_command = False
        if word in _UNSURE:
            raise _Unsure
        if word in (b"if", b"case", b"{", b"[["):
            self._open.append(word)
            self._is_command = word in (b"if", b"{")
        elif word in _LOOPS:
            self._open.append(b"loop")
            self._is_command = word in (b"while", b"until")
        elif word == b"do":
            if top != b"loop":
                raise _Unsure
            self._open[-1] = b"do"
            self._is_command = True
        elif word in _CLOSERS:
            if top != _CLOSERS[word]:
                raise _Unsure
            self._open.pop()
        elif word == b"function":
            self._is_name = True
        elif word in _BEFORE_COMMANDS:
            self._is_command = True
        elif word.startswith(b"{"):
            raise _Unsure

    # Skipping what is quoted or nested

    def _quoted(self) -> None:
        text, at = self._text, self._at
        character = text[at : at + 1]
        if character == b"\\":
            self._at += 2
        elif character == b'"':
            self._skip_double(at + 1)
        elif text.startswith(b"$((", at):
            self._skip_arithmetic(at + 1)
        elif text.startswith(b"$(", at):
            self._skip_nested(at + 2)
        elif text.startswith(b"${", at):
            self._skip_braces(at + 2)
        else:
            pattern = {b"'": _SINGLE, b"`": _BACKQUOTED}.get(character, _ESCAPED)
            found = pattern.match(text, at)
            if found is not None:
                self._at = found.end()
            elif character == b"$":
                self._at += 1
            else:
                raise _Unsure

    def _skip_double(self, at: int) -> None:
        text = self._text
        while at < len(text):
            character = text[at : at + 1]
            if character == b'"':
                self._at = at + 1
                return
            if character == b"\\":
                at += 2
            elif character == b"`" or text.startswith((b"$(", b"${"), at):
                self._at = at
                self._quoted()
                at = self._at
            else:
                at += 1
        raise _Unsure

    def _skip_braces(self, at: int) -> None:
        text = self._text
        while at < len(text):
            character = text[at : at + 1]
            if character == b"}":
                self._at = at + 1
                return
            if character in b"'\"`\\" or text.startswith((b"$(", b"${", b"$'"), at):
                self._at = at
                self._quoted()
                at = self._at
            else:
                at += 1
        raise _Unsure

    def _skip_nested(self, at: int) -> None:
        """Skip a command substitution: its own commands, to the parenthesis that closes it."""
        inner = _Scanner(self._text)
        inner._at = at
        inner._open.append(b"(")
        while inner._at < len(self._text):
            if self._text.startswith(b"\n", inner._at):
                inner._at += 1
                inner._skip_here_documents()
                inner._is_command = True
                continue
            inner._step()
            if not inner._open:
                self._at = inner._at
                return
        raise _Unsure

    def _skip_arithmetic(self, at: int) -> None:
        depth = 0
        for found in re.compile(rb"[()'\"`\\\n]").finditer(self._text, at):
            if found[0] == b"(":
                depth += 1
            elif found[0] == b")":
                depth -= 1
                if depth == 0:
                    self._at = found.end()
                    return
            else:
                raise _Unsure
        raise _Unsure

    def _skip_here_documents(self) -> None:
        for delimiter, strips_tabs in self._here_documents:
            tabs = rb"\t*" if strips_tabs else b""
            found = re.compile(rb"^%s%s(?:\n|\Z)" % (tabs, re.escape(delimiter)), re.MULTILINE).search(
                self._text, self._at
            )
            if found is None:
                raise _Unsure
            self._at = found.end()
        self._here_documents = []
