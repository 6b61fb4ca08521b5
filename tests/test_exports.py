"""What each module offers: named in ``__all__``, there, and described."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest
from zope.interface import implementedBy
from zope.interface.interface import InterfaceClass

import twisted_rsh

MODULES = [
    twisted_rsh.__name__,
    *(module.name for module in pkgutil.walk_packages(twisted_rsh.__path__, f"{twisted_rsh.__name__}.")),
]

EACH_MODULE = pytest.mark.parametrize("name", MODULES)


def is_package_without_code(module: ModuleType) -> bool:
    """Tell whether a package has nothing but a description."""
    return hasattr(module, "__path__") and len(tree_of(module).body) <= 1


def tree_of(module: ModuleType) -> ast.Module:
    """Parse a module's source."""
    assert module.__file__ is not None
    return ast.parse(Path(module.__file__).read_text(encoding="utf-8"))


def documented_names(module: ModuleType) -> set[str]:
    """The names of a module's constants that have a docstring under them, or share one with the constants above."""
    documented: set[str] = set()
    group: set[str] = set()
    for node in tree_of(module).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                group.add(name)
            case ast.Expr(value=ast.Constant(value=str())):
                documented |= group
                group = set()
            case _:
                group = set()
    return documented


@EACH_MODULE
def test_module_is_described(name: str) -> None:
    """Every module says in its docstring what it is for."""
    assert (importlib.import_module(name).__doc__ or "").strip()


@EACH_MODULE
def test_exports_exist(name: str) -> None:
    """Every module has ``__all__``, whose names are sorted apart from upper and lower case, single, and there."""
    module = importlib.import_module(name)
    if is_package_without_code(module):
        return
    names = module.__all__
    assert len(set(names)) == len(names)
    for exported in names:
        assert hasattr(module, exported), exported
        assert not exported.startswith("_"), exported


@EACH_MODULE
def test_public_definitions_are_exported(name: str) -> None:
    """A class or function without a leading underscore is public, or has one."""
    module = importlib.import_module(name)
    if is_package_without_code(module):
        return
    defined = {
        node.name
        for node in tree_of(module).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {n for n in defined if not n.startswith("_")} <= set(module.__all__)


@EACH_MODULE
def test_exports_are_described(name: str) -> None:
    """Every public class, function, method and constant is described."""
    module = importlib.import_module(name)
    constants = documented_names(module)
    for exported in getattr(module, "__all__", ()):
        thing = getattr(module, exported)
        if inspect.isclass(thing) or inspect.isroutine(thing) or isinstance(thing, InterfaceClass):
            assert (thing.__doc__ or "").strip(), exported
        elif not is_reexported(module, exported):
            assert exported in constants, exported


@EACH_MODULE
def test_public_methods_are_described(name: str) -> None:
    """Every public method that is not Twisted's to call, and not an interface's, is described."""
    module = importlib.import_module(name)
    for exported in getattr(module, "__all__", ()):
        thing = getattr(module, exported)
        if not inspect.isclass(thing) or thing.__module__ != name:
            continue
        for method, value in list(vars(thing).items()):  # zope.interface adds to them
            if method.startswith("_") or not method.islower() or not inspect.isroutine(value):
                continue
            assert value.__doc__ or is_described_elsewhere(module, thing, method), f"{exported}.{method}"


def is_described_elsewhere(module: ModuleType, cls: type, method: str) -> bool:
    """Tell whether a base, an interface that a class provides or a protocol of its module describes a method."""
    protocols = [thing for thing in vars(module).values() if getattr(thing, "_is_protocol", False)]
    described = any(getattr(getattr(base, method, None), "__doc__", None) for base in [*cls.__mro__, *protocols])
    interfaces = implementedBy(cls)  # type: ignore[no-untyped-call]  # zope.interface is not annotated
    return described or any(method in interface.names(all=True) for interface in interfaces)


def is_reexported(module: ModuleType, name: str) -> bool:
    """Tell whether a name comes from another module, at once or lazily, and is described there."""
    body = tree_of(module).body
    lazily = [inner for node in body if isinstance(node, ast.If) for inner in node.body]
    return any(
        isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}
        for node in [*body, *lazily]
    )
