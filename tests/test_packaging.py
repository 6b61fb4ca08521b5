"""What is shipped: everything that is needed, and nothing that would hide other people's plugins."""

from __future__ import annotations

import configparser
import os
import re
from importlib.metadata import entry_points, version
from importlib.resources import files
from pathlib import Path

import pytest

import twisted_rsh

ROOT = Path(__file__).parent.parent

COLLECTION = ROOT / "twisted_rsh" / "ansible" / "collection"

pytestmark = pytest.mark.skipif(not (ROOT / "setup.cfg").exists(), reason="the tests run outside a source tree")


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    """What setup.cfg says."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def lines(text: str) -> list[str]:
    """The lines of a value that has one item a line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_every_package_is_listed(setup: configparser.ConfigParser) -> None:
    """The list of packages is written by hand, because ``find:`` drops ``twisted.plugins``: nothing is forgotten."""
    on_disk = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "twisted_rsh").rglob("__init__.py")}
    listed = lines(setup["options"]["packages"])
    assert len(listed) == len(set(listed))
    assert set(listed) == on_disk | {"twisted.plugins"}


def test_every_folder_with_modules_is_a_package() -> None:
    """No folder of modules lacks its ``__init__.py``: it would not be shipped.  What Ansible loads is data."""
    for path in (ROOT / "twisted_rsh").rglob("*.py"):
        if not path.is_relative_to(COLLECTION):
            assert (path.parent / "__init__.py").exists(), path


def test_editable_installs_show_the_plugin(setup: configparser.ConfigParser) -> None:
    """With ``package_dir`` an editable install is a plain path entry, which twistd's plugin search can follow."""
    assert lines(setup["options"]["package_dir"]) == ["= ."]


def test_plugin_folder_is_no_package() -> None:
    """An ``__init__.py`` there would hide Twisted itself, or keep twistd from looking into the folder."""
    assert [path.name for path in sorted((ROOT / "twisted").rglob("*.py"))] == ["twisted_rsh_plugin.py"]


def test_plugin_cache_is_not_shipped(setup: configparser.ConfigParser) -> None:
    """twistd writes ``dropin.cache`` beside the plugin; it must not get into a commit or a distribution."""
    assert "dropin.cache" in lines((ROOT / ".gitignore").read_text())
    assert "twisted.plugins" not in setup["options.package_data"]


def test_types_are_shipped(setup: configparser.ConfigParser) -> None:
    """The marker of PEP 561 is there and is shipped."""
    assert (ROOT / "twisted_rsh" / "py.typed").exists()
    shipped = ["py.typed", "cli/scripts/*", "execution/search_path.bash"]
    assert lines(setup["options.package_data"]["twisted_rsh"]) == shipped
    assert {file.name for file in files("twisted_rsh").joinpath("cli", "scripts").iterdir()} == {
        "complete.bash",
        "complete.sh",
        "complete.zsh",
        "complete_text.sh",
    }
    assert files("twisted_rsh").joinpath("execution", "search_path.bash").is_file()
    assert files("twisted_rsh").joinpath("py.typed").is_file()


def test_completion_manual_and_units_are_shipped(setup: configparser.ConfigParser) -> None:
    """The scripts for bash and zsh are in the package, and with the manual pages and units where each is looked for."""
    assert lines(setup["options.package_data"]["twisted_rsh.cli"]) == ["completion_scripts/*"]
    shipped = {folder: lines(paths) for folder, paths in setup["options.data_files"].items()}
    assert shipped == {
        "share/bash-completion/completions": ["twisted_rsh/cli/completion_scripts/trsh.bash"],
        "share/zsh/site-functions": ["twisted_rsh/cli/completion_scripts/_trsh"],
        "share/man/man1": ["man/trsh.1", "man/twisted-rsh.1"],
        "share/man/man5": ["man/twisted_rsh.config.5"],
        "lib/systemd/system": ["systemd/twisted-rsh@.service", "systemd/twisted-rsh@.socket"],
        "share/twisted-rsh": ["systemd/hardening.conf"],
    }
    assert all((ROOT / path).is_file() for paths in shipped.values() for path in paths)


def test_collection_is_shipped(setup: configparser.ConfigParser) -> None:
    """Each file of the collection for Ansible is shipped, and the collection has the package's version."""
    package = COLLECTION.parent
    patterns = lines(setup["options.package_data"]["twisted_rsh.ansible"])
    shipped = {path for pattern in patterns for path in package.glob(pattern) if path.is_file()}
    assert shipped == {path for path in COLLECTION.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    [galaxy] = COLLECTION.rglob("galaxy.yml")
    assert f"\nversion: {twisted_rsh.__version__}\n" in galaxy.read_text(encoding="utf-8")


def test_scripts(setup: configparser.ConfigParser) -> None:
    """The scripts are those that setup.cfg names, each leads to something callable, and none is called ``rsh``."""
    scripts = {script.name: script for script in entry_points(group="console_scripts") if is_ours(script.value)}
    assert set(scripts) == {
        line.partition("=")[0].strip() for line in lines(setup["options.entry_points"]["console_scripts"])
    }
    assert not {"rsh", "remsh"} & set(scripts)  # rsync changes its ways for these names
    assert all(callable(script.load()) for script in scripts.values())


def test_script_of_the_client(setup: configparser.ConfigParser) -> None:
    """``trsh`` is a script for sh beside the entry point that it runs."""
    assert lines(setup["options"]["scripts"]) == ["bin/trsh"]
    script = ROOT / "bin" / "trsh"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[0] == "#!/bin/sh"
    assert "twisted-rsh-client" in script.read_text()
    assert "twisted-rsh-client" in {script.name for script in entry_points(group="console_scripts")}


def is_ours(value: str) -> bool:
    """Tell whether an entry point leads into this package."""
    return value.startswith("twisted_rsh.")


def test_version_agrees(setup: configparser.ConfigParser) -> None:
    """The installed version, the package's own, which setup.cfg reads, and the newest of the change log agree."""
    assert setup["metadata"]["version"] == "attr: twisted_rsh.__version__"
    declared = twisted_rsh.__version__
    assert version("twisted-rsh") == declared
    changelog = ROOT / "CHANGELOG.rst"
    if changelog.exists():
        newest = re.search(r"^v?(\d+\.\d+\S*)", changelog.read_text(encoding="utf-8"), re.MULTILINE)
        assert newest is not None
        assert newest[1].rstrip(",:") == declared
