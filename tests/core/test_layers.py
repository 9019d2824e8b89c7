"""The core imports no plugin, a plugin imports only the core and its libraries, and light files
stay light.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vqazoo

CORE = Path(vqazoo.__file__).parent
PLUGINS = CORE.parent / "plugins"
# Files that must not import torch or any other heavy package.
STANDARD_LIBRARY = [
    "errors",
    "manifests",
    "registry",
    "compatibility",
    "catalogue",
    "config.tables",
    "data.examples",
    "data.answers",
    "files.writing",
    "toolkit.decode_options",
]
LIGHT_PACKAGES = {"vqazoo", "tomli_w", "click"}

needs_source = pytest.mark.skipif(not PLUGINS.is_dir(), reason="plugins/ is not beside the core")


def imported(file: Path) -> set[str]:
    """Top-level packages that a file names in any import."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_the_core_never_imports_a_plugin():
    files = list(CORE.rglob("*.py"))
    assert len(files) > 20
    for file in files:
        assert not [name for name in imported(file) if name.startswith("vqazoo_")], file


@needs_source
def test_a_plugin_imports_no_other_plugin():
    for folder in PLUGINS.iterdir():
        for file in folder.rglob("*.py"):
            others = {n for n in imported(file) if n.startswith("vqazoo_")} - {folder.name}
            assert not others, file


@needs_source
def test_manifests_import_only_the_core():
    files = list(PLUGINS.glob("*/manifest.py"))
    assert len(files) == 17
    for file in files:
        assert imported(file) == {"vqazoo"}, file


@pytest.mark.parametrize("name", STANDARD_LIBRARY)
def test_a_light_file_loads_nothing_heavy(name):
    script = f"import sys, vqazoo.{name}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    heavy = {
        "torch",
        "numpy",
        "transformers",
        "timm",
        "open_clip",
        "PIL",
        "matplotlib",
        "safetensors",
        "huggingface_hub",
    }
    assert not heavy & set(done.stdout.split())
    assert (
        imported(CORE / f"{name.replace('.', '/')}.py") - set(sys.stdlib_module_names)
        <= LIGHT_PACKAGES
    )
