"""Who signed a model: the signature of a checkpoint folder, checked by OpenSSF model-signing.

A signature covers every file of a folder but those of UNCOVERED. The package `model-signing` (extra
`sign`) is imported when something is signed or checked.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, NamedTuple

from vqazoo.catalogue import PIN
from vqazoo.errors import ConfigError, SignatureError
from vqazoo.files.known_digests import joined_sha256
from vqazoo.files.reading import MIB, check_links, inside, read_plain, shown
from vqazoo.files.writing import CARD, EVAL_RESULTS, MODEL_SIGNATURE, REQUIRED

LARGEST_SIGNATURE = 4 * MIB
HUBS_OWN = (CARD, PurePosixPath(EVAL_RESULTS).parts[0])  # which people edit on the Hub
GITS_OWN = (".git", ".gitattributes", ".github", ".gitignore")  # as the library leaves them out
UNCOVERED = (*HUBS_OWN, *GITS_OWN, MODEL_SIGNATURE, PIN)
MOST_TOLD = 5  # files that differ
STATEMENT = "https://model_signing/signature/v1.0"
REFUSED = (ValueError, TypeError, AttributeError, OSError)  # raised for what holds no such key


class Statement(NamedTuple):
    """What a signature says: the SHA-256 of files by name, and the names that it leaves out."""

    sha256: dict[str, str]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Signatory:
    """Who must have signed a model.

    Attributes:
        identity: a file with a public key; with an issuer: what its certificate names, such as an
            address of e-mail or of a workflow.
        issuer: address of who vouches for that name, such as https://accounts.google.com.
    """

    identity: str
    issuer: str = ""

    def __str__(self) -> str:
        if self.issuer:
            return f"'{self.identity}', as '{self.issuer}' knows it"
        return f"the key '{self.identity}'"


def signatory(identity: str, issuer: str) -> Signatory | None:
    """Who must have signed, as a user says it; None where nobody must.

    Raises:
        ConfigError: an issuer stands alone, or an identity is no file and has no issuer.
    """
    if issuer and not identity:
        raise ConfigError(
            f"The issuer '{issuer}' vouches for an identity, but none is named: add --identity."
        )
    if not identity:
        return None
    if not issuer and not Path(identity).expanduser().is_file():
        raise ConfigError(
            f"The identity {identity!r} is no file with a public key, and no issuer vouches for it "
            f"as a name: name the key's file, or add --issuer, such as https://accounts.google.com."
        )
    return Signatory(identity, issuer)


def verify(folder: Path, signer: Signatory) -> tuple[str, ...]:
    """Check that somebody signed a folder as it is now; nothing in it is parsed but the signature.

    Returns:
        Names that the signature does not cover, of those that are there.

    Raises:
        SignatureError: there is no signature, it is of somebody else, or a file was altered, added
            or taken away since; or the package is not installed.
    """
    check_links(folder)
    file = folder / MODEL_SIGNATURE
    if not file.is_file():
        raise SignatureError(
            f"'{folder}' has no {MODEL_SIGNATURE}, so nobody signed it: ask its author for one, or "
            f"leave out --identity."
        )
    said = statement(read_plain(file, LARGEST_SIGNATURE), file)
    if unusual := sorted({*said.left_out} - {*UNCOVERED}):
        raise SignatureError(
            f"The signature '{file}' leaves out {shown(unusual[0])}, which a signature of a model "
            f"must cover: ask its author to sign all files."
        )
    for link in (path for path in folder.rglob("*") if path.is_symlink()):
        inside(link, folder)
    verifier = _verifier(signer, file)
    hashing = package("model_signing.hashing").Config()
    hashing.set_allow_symlinks(True)  # of the Hub's cache, whose files are links
    own = [name for name in (MODEL_SIGNATURE, PIN) if name not in said.sha256]
    hashing.set_ignored_paths(paths=own, ignore_git_paths=False)  # what else is left out, it says
    verifier.set_hashing_config(hashing)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where the library warns
            verifier.verify(folder, file)
    except Exception as error:  # whatever the library and those that it uses raise
        raise SignatureError(_explained(error, folder, signer, said)) from error
    return tuple(
        name for name in said.left_out if name != MODEL_SIGNATURE and (folder / name).exists()
    )


def signed_by(signer: Signatory, left_out: tuple[str, ...]) -> str:
    """What `verify` did, in words."""
    rest = f"; not covered: {', '.join(sorted(left_out))}" if left_out else ""
    return f"Signed by {signer}{rest}."


def statement(content: bytes, place: Path | str) -> Statement:
    """What a signature says, whoever made it.

    Raises:
        SignatureError: it is no signature of a model by SHA-256 of whole files.
    """
    try:
        payload = json.loads(base64.b64decode(json.loads(content)["dsseEnvelope"]["payload"]))
        if payload["predicateType"] != STATEMENT:
            raise ValueError(f"its statement is of the kind {shown(payload['predicateType'])}")
        predicate = payload["predicate"]
        how = predicate["serialization"]
        if (how["method"], how["hash_type"]) != ("files", "sha256"):
            raise ValueError(f"it is made of {shown(how['method'])} and {shown(how['hash_type'])}")
        digests = {str(file["name"]): str(file["digest"]) for file in predicate["resources"]}
        return Statement(digests, tuple(str(name) for name in how.get("ignore_paths", ())))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SignatureError(
            f"'{place}' is not a signature of the SHA-256 of a model's files "
            f"({type(error).__name__}: {error}): get it again, or ask its author for one."
        ) from error


def is_uncovered(name: str) -> bool:
    """Whether a file of a repository is one that signatures leave out."""
    return name.split("/")[0] in UNCOVERED


def check_signed_names(names: set[str], said: Statement, fetched: set[str], place: str) -> None:
    """Check the names of a repository's files against a signature, before any is opened.

    Args:
        names: of the files that are there; fetched: those that a pull would fetch.

    Raises:
        SignatureError: a file was added, or is one that vqazoo does not fetch.
    """
    covered = {name for name in names if not is_uncovered(name)}
    if added := sorted(covered - said.sha256.keys()):
        raise SignatureError(
            f"'{place}' holds {shown(added[0])}, which was added after it was signed: do not use "
            f"it, and tell its author."
        )
    if strange := sorted(said.sha256.keys() & names - fetched):
        raise SignatureError(
            f"The signature of '{place}' covers {shown(strange[0])}, which vqazoo does not fetch: "
            f"clone the repository and check the clone with  model_signing verify ."
        )
    if lost := sorted({*REQUIRED, *said.sha256} - names):
        raise SignatureError(
            f"'{place}' has no {shown(lost[0])}, which was there when it was signed: do not use "
            f"it, and tell its author."
        )


def package(name: str) -> ModuleType:
    """A module of model-signing. Raises SignatureError if it is not installed."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise SignatureError(
            f"Signatures need a package that is not installed ({error}): run  pip install "
            f"'vqazoo[sign]'."
        ) from error


def _verifier(signer: Signatory, file: Path) -> Any:
    """The library's verifier of somebody's signatures."""
    config = package("model_signing.verifying").Config()
    if signer.issuer:
        try:
            return config.use_sigstore_verifier(identity=signer.identity, oidc_issuer=signer.issuer)
        except Exception as error:  # of the network, or of a trust root that is not there
            raise SignatureError(
                f"'{file}' cannot be checked for {signer}, because sigstore's keys cannot be had "
                f"({_reason(error)}): check the network, or ask for a signature by a key."
            ) from error
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return config.use_elliptic_key_verifier(public_key=Path(signer.identity).expanduser())
    except (*REFUSED, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"'{signer.identity}' is not a public key of an elliptic curve in PEM ({error}): write "
            f"that of a private one with  openssl pkey -in KEY -pubout -out KEY.pub ."
        ) from error


def _explained(error: Exception, folder: Path, signer: Signatory, said: Statement) -> str:
    """One sentence for what the library says of a signature that does not hold."""
    if str(error).startswith("Signature mismatch"):
        return (
            f"'{folder}' is not what was signed ({_differences(folder, said)}): do not use it, and "
            f"get it again from its author."
        )
    return (
        f"'{folder / MODEL_SIGNATURE}' is not a signature by {signer} ({_reason(error)}): do not "
        f"use the folder, unless somebody else may sign it."
    )


def _differences(folder: Path, said: Statement) -> str:
    """How the files of a folder differ from those that were signed."""
    files = {f.relative_to(folder).as_posix(): f for f in folder.rglob("*") if f.is_file()}
    left_out = {*said.left_out, *({MODEL_SIGNATURE, PIN} - said.sha256.keys())}
    there = {name: f for name, f in files.items() if name.split("/")[0] not in left_out}
    told = [f"{shown(name)} was added" for name in sorted(there.keys() - said.sha256.keys())]
    told += [f"{shown(name)} is gone" for name in sorted(said.sha256.keys() - there.keys())]
    for name in sorted(there.keys() & said.sha256.keys()):
        if joined_sha256([there[name]]) != said.sha256[name]:
            told.append(f"{shown(name)} was altered")
    return ", ".join([*told[:MOST_TOLD], *(["and more"] if len(told) > MOST_TOLD else [])])


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(". ")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
