"""Writes the reference of zope interfaces, which autodoc does not know: an interface is no class, and has no methods.

It reads the source of a module, and writes for each interface its description, its attributes and its methods, with the
annotations.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from textwrap import indent

__all__ = ["write_interfaces"]


class _Qualified(ast.NodeTransformer):
    """Writes each imported name with its module, so that Sphinx finds it."""

    def __init__(self, tree: ast.Module) -> None:
        self._modules = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module != "__future__"
            for alias in node.names
        }

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Name(self._modules.get(node.id, node.id))


def _described(directive: str, text: str | None, members: str = "") -> str:
    body = inspect.cleandoc(text or "")
    return f".. py:{directive}\n\n{indent(body, '   ')}\n\n{indent(members, '   ')}\n"


def _member(node: ast.stmt, qualified: _Qualified) -> str:
    match node:
        case ast.FunctionDef():
            arguments = ast.unparse(qualified.visit(node.args))
            returned = "" if node.returns is None else f" -> {ast.unparse(qualified.visit(node.returns))}"
            return _described(f"method:: {node.name}({arguments}){returned}", ast.get_docstring(node))
        case ast.AnnAssign(target=ast.Name(name), value=ast.Call(args=[ast.Constant(str(text))])):
            kind = ast.unparse(qualified.visit(node.annotation))
            return _described(f"attribute:: {name}\n   :type: {kind}", text)
        case _:
            return ""


def write_interfaces(source: Path, module: str, target: Path) -> None:
    """Write the reference of the interfaces of a module.

    :param source: the module's file.
    :param module: the name of the module that callers import the interfaces from.
    :param target: the file to write, for an ``include`` directive.
    """
    tree = ast.parse(source.read_text("utf-8"))
    qualified = _Qualified(tree)
    texts = [f".. py:currentmodule:: {module}\n"]
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("I") and node.name[1].isupper():
            bases = [name for base in node.bases if (name := ast.unparse(base)).startswith("I") and name != "Interface"]
            text = ast.get_docstring(node) or ""
            if bases:
                text += "\n\nIt has everything of " + " and ".join(f":class:`{base}`" for base in bases) + "."
            members = "\n".join(_member(member, qualified) for member in node.body)
            texts.append(_described(f"class:: {node.name}", text, members))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(texts), "utf-8")
