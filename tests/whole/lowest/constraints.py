"""The lowest version of everything that users install, as pip's constraints (see `make lowest`).

Of a bound like `torch>=2.11` it prints `torch==2.11`: a lower bound that does not exist, or does
not go together with the others, makes pip fail. Tools that only tests use are left at their newest.

    python tests/whole/lowest/constraints.py > constraints.txt
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"
# They bring their own trainers, dashboards or GPU code, and no test of the suite starts them.
NOT_TRIED = ("dev", "lmms-eval", "mutants", "quantize", "trackio", "wandb")
BOUND = re.compile(r"(?P<name>[\w.-]+)(\[[\w,-]+\])?>=(?P<version>[\w.]+)")


def stated(requirements: list[str]) -> dict[str, str]:
    """The lowest version of each requirement, by its name."""
    found = {}
    for requirement in requirements:
        bound = BOUND.match(requirement)
        if bound is None:
            raise SystemExit(
                f"{requirement!r} in pyproject.toml has no lower bound: name>=version."
            )
        found[bound["name"]] = bound["version"]
    return found


def lowest(pyproject: Path = PYPROJECT) -> dict[str, str]:
    """The lowest version of each direct dependency, extras included.

    Where an extra asks for more of a package than vqazoo itself does, the lower bound counts.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    found: dict[str, str] = {}
    for extra, requirements in project["optional-dependencies"].items():
        if extra not in NOT_TRIED:
            found |= stated(requirements)
    return found | stated(project["dependencies"])


if __name__ == "__main__":
    for name, version in sorted(lowest().items()):
        print(f"{name}=={version}")
