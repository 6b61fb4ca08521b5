"""What each module offers: named in ``__all__``, there, and described."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from types import GenericAlias, ModuleType
from typing import Any

from zope.interface import implementedBy
from zope.interface.interface import InterfaceClass

import twisted_rsh

MODULES = [
    importlib.import_module(name)
    for name in [
        twisted_rsh.__name__,
        *(module.name for module in pkgutil.walk_packages(twisted_rsh.__path__, f"{twisted_rsh.__name__}.")),
    ]
]


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


def exported(module: ModuleType) -> list[tuple[str, Any]]:
    """The names in a module's ``__all__``, and what they are."""
    return [(name, getattr(module, name)) for name in getattr(module, "__all__", ())]


def is_definition(thing: object) -> bool:
    """Tell whether something has a docstring of its own: not an alias such as ``Callable[[], int]``."""
    if isinstance(thing, GenericAlias):  # which Python 3.10 takes for a class
        return False
    return inspect.isclass(thing) or inspect.isroutine(thing) or isinstance(thing, InterfaceClass)


def test_modules_are_described() -> None:
    """Every module says in its docstring what it is for."""
    assert [module.__name__ for module in MODULES if not (module.__doc__ or "").strip()] == []


def test_modules_have_exports() -> None:
    """Every module with code has ``__all__``; each name in it is public, there, and named once."""
    wrong = [
        module.__name__ for module in MODULES if not (hasattr(module, "__all__") or is_package_without_code(module))
    ]
    for module in MODULES:
        names = getattr(module, "__all__", ())
        wrong += [f"{module.__name__}.{name}" for name in names if name.startswith("_") or not hasattr(module, name)]
        wrong += [f"{module.__name__}: a name twice"] if len(set(names)) != len(names) else []
    # __version__ is the one name that Python itself spells so.
    assert [name for name in wrong if name != "twisted_rsh.__version__"] == []


def test_public_definitions_are_exported() -> None:
    """A class or function without a leading underscore is in ``__all__``."""
    missing = [
        f"{module.__name__}.{node.name}"
        for module in MODULES
        for node in tree_of(module).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and node.name not in module.__all__
    ]
    assert missing == []


def test_exports_are_described() -> None:
    """Every public class, function and constant is described."""
    undescribed = []
    for module in MODULES:
        constants = documented_names(module)
        for name, thing in exported(module):
            if is_definition(thing):
                described = bool((thing.__doc__ or "").strip())
            else:
                described = name in constants or is_reexported(module, name)
            undescribed += [] if described else [f"{module.__name__}.{name}"]
    assert undescribed == []


def test_public_methods_are_described() -> None:
    """Every public method that is not Twisted's to call, and not an interface's, is described."""
    undescribed = [
        f"{module.__name__}.{name}.{method}"
        for module in MODULES
        for name, thing in exported(module)
        if inspect.isclass(thing) and thing.__module__ == module.__name__
        for method, value in list(vars(thing).items())  # zope.interface adds to them
        if not method.startswith("_") and method.islower() and inspect.isroutine(value)
        if not value.__doc__ and not is_described_elsewhere(module, thing, method)
    ]
    assert undescribed == []


def is_described_elsewhere(module: ModuleType, cls: type, method: str) -> bool:
    """Tell whether a base, an interface that a class provides or a protocol of its module describes a method."""
    protocols = [thing for thing in vars(module).values() if getattr(thing, "_is_protocol", False)]
    described = any(getattr(getattr(base, method, None), "__doc__", None) for base in [*cls.__mro__, *protocols])
    interfaces = implementedBy(cls)  # type: ignore[no-untyped-call]  # zope.interface is not annotated
    return described or any(method in interface.names(all=True) for interface in interfaces)


def is_reexported(module: ModuleType, name: str) -> bool:
    """Tell whether a name comes from another module, where it is described."""
    return any(
        isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}
        for node in ast.walk(tree_of(module))
    )
