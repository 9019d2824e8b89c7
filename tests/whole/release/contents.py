"""What an archive of this project must hold, and what it must not."""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from packaging.metadata import Metadata

LARGEST = 12_000_000  # bytes of a file: what a packaged model may weigh
LICENCE = "LICENSE"
# A secret, a home folder, a cache: what may lie in a folder that an archive is made of.
SECRET = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]|\bhf_[A-Za-z0-9]{30,}\b")
HOME = re.compile(
    rb"(?<![\w.])/(?:home|Users)/(?!(?:ada|alice|me|nobody|runner|user|you)\b)[a-z][\w-]+/"
)
FORBIDDEN = re.compile(
    r"(^|/)(runs|sweeps|dist|node_modules|__pycache__|\.venv[^/]*|\.git|\.env|\.netrc)(/|$)"
    r"|(^|/)[.]\w+_cache(/|$)|[.](pyc|pem|key)$|missing-images[.]txt$"
)
TEXTS = (".py", ".md", ".toml", ".json", ".html", ".css", ".js", ".txt", ".ipynb", ".cfg", "")


def members(archive: Path) -> dict[str, bytes]:
    """The files of a wheel or an sdist by name, without the folder that an sdist begins with."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            return {name: opened.read(name) for name in opened.namelist() if name[-1] != "/"}
    files = {}
    with tarfile.open(archive) as opened:
        for member in opened:
            if (content := opened.extractfile(member)) is not None:
                files[member.name.partition("/")[2]] = content.read()
    return files


def metadata(files: Mapping[str, bytes]) -> Metadata:
    """The metadata of an archive, by the rules of the package index.

    Raises:
        ExceptionGroup: a field is not as they demand.
    """
    names = [
        name
        for name in files
        if name == "PKG-INFO" or re.fullmatch(r"[^/]+[.]dist-info/METADATA", name)
    ]
    (name,) = names
    return Metadata.from_email(files[name], validate=True)


def faults(files: Mapping[str, bytes]) -> list[str]:
    """What is wrong with the files of an archive, a sentence each."""
    told = []
    for name, content in files.items():
        if FORBIDDEN.search(name):
            told.append(f"{name} does not belong into a release.")
        if len(content) > LARGEST:
            told.append(f"{name} has {len(content):,} bytes, more than {LARGEST:,}.")
        if PurePosixPath(name).suffix in TEXTS:
            for kind, pattern in (("a secret", SECRET), ("somebody's folder", HOME)):
                if match := pattern.search(content):
                    shown = match.group().decode(errors="replace")[:40]
                    told.append(f"{name} names {kind}: {shown!r}.")
    said = metadata(files)
    for field in ("summary", "requires_python", "license_expression", "description"):
        if not getattr(said, field):
            told.append(f"The metadata have no {field.replace('_', ' ')}.")
    if not any(PurePosixPath(name).name == LICENCE for name in files):
        told.append(f"{LICENCE} is missing.")
    if LICENCE not in (said.license_files or ()):
        told.append(f"The metadata do not name {LICENCE}.")
    return told
