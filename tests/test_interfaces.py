"""The interfaces of the package, and the classes that declare to implement them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections import defaultdict

from zope.interface import implementedBy
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyClass

import twisted_rsh
from twisted_rsh import interfaces

MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(twisted_rsh.__path__, f"{twisted_rsh.__name__}.")
]

CLASSES = {thing for module in MODULES for thing in vars(module).values() if inspect.isclass(thing)}


def providers() -> dict[InterfaceClass, set[type]]:
    """The classes of this package that declare each interface themselves, also interfaces of Twisted and zope."""
    found: dict[InterfaceClass, set[type]] = defaultdict(set)
    for cls in CLASSES:
        if not cls.__module__.startswith("twisted_rsh.") or isinstance(cls, InterfaceClass):
            continue
        for interface in implementedBy(cls).declared:  # type: ignore[no-untyped-call]  # zope.interface is not annotated
            found[interface].add(cls)
    return found


def test_providers_implement_all_of_it() -> None:
    """Each class has every method of the interfaces that it declares, with arguments that fit."""
    for interface, classes in providers().items():
        for cls in classes:
            verifyClass(interface, cls)


def test_every_interface_has_providers() -> None:
    """Some class of the package implements each interface that an application may provide."""
    own = {getattr(interfaces, name) for name in interfaces.__all__ if name.startswith("I")}
    assert len(own) == 7
    assert own <= set(providers())
