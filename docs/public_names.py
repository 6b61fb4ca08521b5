"""Resolves references by what exists in the code.

The reference documents ``twisted_rsh.Connection``, the name that callers use.  Docstrings, and annotations, name the
module that defines it, ``twisted_rsh.client.connection.Connection``, and what is in it.  Both lead to one place here.

A docstring may also name a part of the package that is not public, and so has no page.  Such a reference is checked,
too: what it names must exist.  Then it is plain text.
"""

from __future__ import annotations

import enum
import importlib
import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import desc, pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

__all__ = ["PACKAGES", "find", "leave_out_constructor", "public_name", "resolve", "write_names"]

PACKAGES = ("twisted_rsh", "twisted_rsh.server", "twisted_rsh.testing")
"""The packages whose names callers import, in the order in which a name is looked for."""


MADE_BY_THE_PACKAGE = {
    "twisted_rsh.AgentKey",
    "twisted_rsh.ClientKey",
    "twisted_rsh.Connection",
    "twisted_rsh.Job",
    "twisted_rsh.Shell",
    "twisted_rsh.client.streams.RemoteInput",
    "twisted_rsh.client.streams.RemoteOutput",
    "twisted_rsh.testing.MemoryTransport",
}
"""Classes that callers never call: the parameters of their constructors are no part of the reference."""


def find(target: str) -> tuple[Any, str] | None:
    """Find what a dotted name stands for.

    :param target: such as ``twisted_rsh.client.connection.Connection.run``.
    :returns: the first part after the module, here the class, and what follows it, here ``".run"``; ``None`` if there
        is no such thing.  An attribute that only instances have must be annotated, or an ``:ivar`` of the docstring.
    """
    parts = target.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        if cut == len(parts):
            return module, ""
        first = found = getattr(module, parts[cut], None)
        for name in parts[cut + 1 :]:
            is_described = re.search(rf":ivar {re.escape(name)}:", getattr(found, "__doc__", None) or "")
            is_annotated = name in getattr(found, "__annotations__", ()) or None
            found = getattr(found, name, is_described or is_annotated)
        return None if found is None else (first, "".join(f".{name}" for name in parts[cut + 1 :]))
    return None


def public_name(target: str) -> str | None:
    """Find the public name of something that is named by its module.

    :param target: such as ``twisted_rsh.client.connection.Connection.run``.
    :returns: such as ``twisted_rsh.Connection.run``, or ``None`` if it has no such name.
    """
    found = find(target)
    if found is not None:
        for package in PACKAGES:
            module = importlib.import_module(package)
            for name in module.__all__:
                if getattr(module, name) is found[0]:
                    return f"{package}.{name}{found[1]}"
    return None


def _defining_module(node: nodes.Node) -> str | None:
    """Name the module whose docstring or signature has a reference: names in it need no module."""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, desc):
            signature = node[0]
            found = find(f"{signature.get('module')}.{signature.get('fullname')}")
            return getattr(found and found[0], "__module__", None)
    return None


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.Element | None:
    """Resolve a reference that Sphinx cannot resolve; Sphinx calls this for each."""
    if node.get("refdomain") != "py":
        return None
    target = str(node.get("reftarget", ""))
    scopes = [node.get("py:module"), f"{node.get('py:module')}.{node.get('py:class')}", _defining_module(node)]
    for name in [target, *(f"{scope}.{target}" for scope in scopes)]:
        found = find(name) if name.startswith("twisted_rsh.") else None
        if found is None:
            continue
        public = public_name(name) or name
        for place in (public, public.removesuffix(found[1])):  # an attribute may have no entry of its own
            entry = env.domains["py"].resolve_xref(
                env, node["refdoc"], app.builder, node["reftype"], place, node, content
            )
            if entry is not None:
                return entry
        if public == name:  # a part that is not public, and has no entry
            return content
    return None


def write_names(
    _app: Sphinx, _what: str, _name: str, obj: object, _options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Write interfaces, classes and members of enumerations in a signature as names; autodoc calls this.

    Otherwise they are ``<InterfaceClass NAME>``, ``<class 'NAME'>`` and ``<NAME: value>``, which is no Python.  An
    enumeration itself has no signature: callers name its members.
    """
    if isinstance(obj, type) and issubclass(obj, enum.Enum):
        return "", None
    pattern = r"<(?:InterfaceClass |class ')?([\w.]+)(?:'|: [^>]*)?>"
    return signature and re.sub(pattern, r"\1", signature), returned and re.sub(pattern, r"\1", returned)


def leave_out_constructor(_app: Sphinx, what: str, name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """Leave the parameters of a constructor that callers never call out of the class's text; autodoc calls this."""
    if what != "class" or name not in MADE_BY_THE_PACKAGE:
        return
    kept, is_left_out = [], False
    for line in lines:
        if not line.startswith(" "):
            is_left_out = line.startswith((":param ", ":raises "))
        if not is_left_out:
            kept.append(line)
    lines[:] = kept
