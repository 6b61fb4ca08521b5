"""The direction of the imports: every module knows only what lies below it."""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import twisted_rsh

PACKAGE = Path(twisted_rsh.__file__).parent
PLUGIN = PACKAGE.parent / "twisted" / "plugins" / "twisted_rsh_plugin.py"

ROOT = "twisted_rsh"

EXECUTION = {"execution", "execution.shells", "execution.trees", "execution.processes", "execution.account"}

LAYERS = {
    # The public face: names that are imported when they are asked for.
    "": {"client", "clock", "trust", "core", "interfaces"},
    "core": {"core"},
    "clock": set(),
    "interfaces": {"core", "server_events"},
    "server_events": {"core"},  # what the observers of a server are told
    "closing": set(),  # the end of a descriptor, for all that the reactor watches
    "limited_log": set(),
    "log_level": set(),
    "trust": {"limited_log", "log_level", "trust", "core", "interfaces"},
    "execution.account": {"core"},
    "execution.processes": {"log_level", "execution.processes", "closing", "core"},
    "execution.trees": {
        "log_level",
        "execution.trees",
        "execution.processes",
        "execution.account",
        "core",
        "interfaces",
    },
    "execution.shells": {*EXECUTION, "core", "interfaces"},
    "execution": {*EXECUTION, "log_level", "core", "interfaces"},
    "link": {"link", "trust", "core", "interfaces"},
    "server": {
        "server",
        "server_events",
        "clock",
        "limited_log",
        "log_level",
        "link",
        *EXECUTION,
        "trust",
        "core",
        "interfaces",
    },
    "client": {"client", "clock", "closing", "link", "trust", "core", "interfaces"},
    "cli": {"cli", "fleet", "client", "clock", "closing", "trust", "core"},
    # On top of the package, as a stranger's would be: the public names, and the seams.
    "fleet": {"fleet", "", "interfaces"},
    # The fault tools know bytes, and nothing of this protocol; the package offers the doubles beside them.
    "testing": {"testing", "testing.pair", "testing.scripted", "closing"},
    "testing.scripted": {"core", "interfaces"},
    "testing.pair": {"testing", "testing.scripted", "server", "client", "link", "trust", "core", "interfaces"},
    # On top of the package, as a stranger's would be: the public face alone.
    "ansible": {"ansible", ""},
    "ansible.__main__": {"ansible", "printing"},
    # On top of the server, as an application's own observers would be: its public names, and the seams.
    "watching": {"watching", "", "server", "interfaces"},
    "configuration": {"configuration", "watching", "server", "log_level", *EXECUTION, "trust", "core", "interfaces"},
    "tap": {"watching", "configuration", "log_level", "server", "clock", *EXECUTION, "trust", "core", "interfaces"},
    # A program of its own that a job runs: it knows bytes and files, and nothing of this protocol.
    "files": {"files"},
    # The programs: nothing imports them.
    "starting": set(),  # it names the programs, and imports each when it is started
    "printing": set(),  # what the programs print
    "manage": {"manage", "printing", "server", "clock", "trust", "core"},
    "trshctl": {"trshctl", "cli", "client", "clock", "trust", "core"},
    "trshctl.__main__": {"", "trshctl", "printing", "cli", "client", "clock", "trust", "core"},  # as below
    "server.__main__": {"tap", "server"},
    "cli.__main__": {"", "cli", "client", "trust", "core"},  # the package itself has the version
    "client.__main__": {"starting"},
    "__main__": {"tap", "server", "client", "cli", "link", *EXECUTION, "trust", "core"},
}
"""What the modules of each layer may import of this package, from the bottom up."""

CORE_STANDARD_LIBRARY = {
    "__future__",
    "base64",
    "binascii",
    "codecs",
    "collections",
    "collections.abc",
    "dataclasses",
    "enum",
    "hashlib",
    "heapq",
    "hmac",
    "itertools",
    "json",
    "math",
    "struct",
    "typing",
}
"""What the core may import beside itself: values and ways to write them, no I/O, no clock, no randomness."""


def module_name(path: Path) -> str:
    """The dotted name of a module of this package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


COLLECTION = PACKAGE / "ansible" / "collection"
"""What Ansible loads into its own Python: files for another program, and no modules of this package."""

MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py")) if not path.is_relative_to(COLLECTION)}


def imports_of(path: Path, *, at_module_level: bool = False, type_checking: bool = True) -> set[str]:
    """The names of all modules that a module imports; of ``from a import b`` also ``a.b`` where that is a module.

    :param at_module_level: whether to leave out what is imported inside functions.
    :param type_checking: whether to count what is imported for type checkers alone.
    """
    found = set()
    for node in statements(ast.parse(path.read_text(encoding="utf-8")), at_module_level, type_checking):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            base = node.module or ""
            found |= {base, *(name for alias in node.names if (name := f"{base}.{alias.name}") in MODULES)}
    return found


def statements(tree: ast.AST, at_module_level: bool, type_checking: bool) -> Iterator[ast.AST]:
    """Walk over a tree."""
    for node in ast.iter_child_nodes(tree):
        if at_module_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if not type_checking and isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        yield from statements(node, at_module_level, type_checking)


def layer_of(name: str) -> str:
    """The layer that a module is in: the longest row of the table that it lies in; ``""`` for the package itself."""
    parts = name.split(".")[1:]
    rows = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((row for row in rows if row in LAYERS), ".".join(parts[:1]))


def is_of(name: str, *packages: str) -> bool:
    """Tell whether a module is one of some packages or in one of them."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_there_are_modules() -> None:
    """The rules below are about something: every layer below the programs has modules."""
    assert {layer_of(name) for name in MODULES} >= set("core interfaces trust execution link server client cli".split())


def test_imports_go_downwards() -> None:
    """A module imports of this package only what lies in its own layer or below it."""
    wrong = [
        f"{name} must not import {module}"
        for name, path in MODULES.items()
        for module in sorted(imports_of(path))
        if is_of(module, ROOT) and layer_of(module) not in LAYERS[layer_of(name)]
    ]
    assert wrong == []


def test_core_knows_values_only() -> None:
    """The core imports values of the standard library and itself: no I/O, no clock, no randomness, no Twisted."""
    wrong = [
        f"{name} must not import {module}"
        for name, path in MODULES.items()
        if layer_of(name) == "core"
        for module in sorted(imports_of(path) - CORE_STANDARD_LIBRARY)
        if not is_of(module, f"{ROOT}.core")
    ]
    assert wrong == []


def test_interfaces_know_the_core_and_zope() -> None:
    """The seams are written in terms of the core's values and ``zope.interface``."""
    outside = imports_of(PACKAGE / "interfaces.py")
    assert all(
        is_of(module, "__future__", f"{ROOT}.core", f"{ROOT}.server_events", "collections.abc", "zope.interface")
        for module in outside
    ), outside


def test_observers_know_the_public_names_of_the_server() -> None:
    """What stands on top of the server imports no module inside it."""
    wrong = [
        f"{name} must not import {module}"
        for name, path in MODULES.items()
        if layer_of(name) == "watching"
        for module in sorted(imports_of(path))
        if module.startswith(f"{ROOT}.server.")
    ]
    assert wrong == []


def test_reactor_is_a_parameter() -> None:
    """No module imports the reactor when it is loaded: that would choose the reactor for the whole program."""
    wrong = []
    for name, path in MODULES.items():
        for node in statements(ast.parse(path.read_text(encoding="utf-8")), at_module_level=True, type_checking=True):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            source = node.module if isinstance(node, ast.ImportFrom) else None
            if "twisted.internet.reactor" in (source, *names) or (source == "twisted.internet" and "reactor" in names):
                wrong.append(name)
    assert wrong == []


def test_no_cycles() -> None:
    """Modules that are loaded do not go round in circles."""
    graph = {
        name: {
            module
            for module in imports_of(path, at_module_level=True, type_checking=False)
            if module in MODULES and module != name and not name.startswith(f"{module}.")
        }
        for name, path in MODULES.items()
    }
    # A module loads the packages above it too; those that import what is in them must not be imported from there.
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_third_parties() -> None:
    """Only what ``setup.cfg`` requires is imported; ``prompt_toolkit`` and ``prometheus_client`` in one place each."""
    known = {ROOT, "twisted", "zope", "cryptography", "OpenSSL", *sys.stdlib_module_names}
    special = {"cli": {"prompt_toolkit"}, "watching": {"prometheus_client"}}
    wrong = [
        f"{name} must not import {module}"
        for name, path in MODULES.items()
        for module in sorted(imports_of(path))
        if module.partition(".")[0] not in known | special.get(layer_of(name), set())
    ]
    assert wrong == []


def test_collection_knows_ansible_only() -> None:
    """Ansible's Python may lack this package and Twisted, so its plugins import the standard library and Ansible."""
    plugins = list(COLLECTION.rglob("*.py"))
    assert plugins
    imported = {module.partition(".")[0] for path in plugins for module in imports_of(path)}
    assert imported - sys.stdlib_module_names == {"ansible"}


def test_plugin_knows_a_name_only() -> None:
    """The plugin is imported whenever twistd starts anything, so it imports nothing of ours."""
    assert imports_of(PLUGIN) == {"twisted.application.service"}
