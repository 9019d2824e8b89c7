"""Signing what a push uploads, by OpenSSF model-signing. See docs/how-to/sign.md."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vqazoo.errors import ConfigError, HubError, SignatureError
from vqazoo.files.known_digests import joined_sha256
from vqazoo.files.writing import CARD, MODEL_SIGNATURE, WEIGHTS
from vqazoo.hub.requests import HubRef
from vqazoo.progress import Report
from vqazoo.publish.signatures import (
    GITS_OWN,
    HUBS_OWN,
    REFUSED,
    Signatory,
    is_uncovered,
    package,
    statement,
    verify,
)
from vqazoo.publish.upload import Upload

SIGSTORE = "sigstore"  # in place of a key: who is logged in there signs
PASSWORD = "VQAZOO_SIGN_PASSWORD"  # variable with that of an encrypted private key


@dataclass(frozen=True)
class Signer:
    """What signs: a private key in a file, or sigstore."""

    key: str

    @property
    def is_sigstore(self) -> bool:
        """Whether an identity signs, by way of the network."""
        return self.key == SIGSTORE

    def config(self) -> Any:
        """The library's signer.

        Raises:
            ConfigError: the key cannot be used. SignatureError: the package is not installed, or
                sigstore cannot be reached.
        """
        config = package("model_signing.signing").Config()
        if self.is_sigstore:
            try:
                return config.use_sigstore_signer(use_ambient_credentials=True)
            except Exception as error:  # of the network, or of a trust root that is not there
                raise SignatureError(
                    f"sigstore cannot be asked for a signature ({type(error).__name__}: {error}): "
                    f"check the network, or name a private key with --sign."
                ) from error
        from cryptography.exceptions import UnsupportedAlgorithm

        password = os.environ.get(PASSWORD, "").encode() or None
        try:
            return config.use_elliptic_key_signer(private_key=self.place, password=password)
        except (*REFUSED, UnsupportedAlgorithm) as error:
            raise ConfigError(
                f"'{self.key}' is not a private key of an elliptic curve in PEM that can be used "
                f"({error}): make one with  openssl ecparam -name prime256v1 -genkey -noout -out "
                f"KEY ; the password of an encrypted one is read from {PASSWORD}."
            ) from error

    @property
    def place(self) -> Path:
        return Path(self.key).expanduser()

    def public_key(self, scratch: Path) -> Path:
        """A file with the public key of the private one."""
        from cryptography.hazmat.primitives import serialization

        password = os.environ.get(PASSWORD, "").encode() or None
        private = serialization.load_pem_private_key(self.place.read_bytes(), password)
        file = scratch / "public.pem"
        file.write_bytes(
            private.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        return file


@dataclass(frozen=True)
class SignedUpload:
    """Files in a folder as they are uploaded, and signed there."""

    signer: Signer
    folder: Path

    def signature(self, earlier: bytes | None) -> bytes:
        """The earlier signature of the repository where it holds for these files; else the new."""
        new = (self.folder / MODEL_SIGNATURE).read_bytes()
        if earlier is not None and not self.signer.is_sigstore and earlier != new:
            (self.folder / MODEL_SIGNATURE).write_bytes(earlier)
            with contextlib.suppress(SignatureError):
                verify(self.folder, Signatory(str(self.signer.public_key(self.folder.parent))))
                return earlier
        return new


def sign_upload(
    upload: Upload, signer: Signer, scratch: Path, name: str, report: Report
) -> SignedUpload:
    """Sign the files of a push, as others will have them.

    Args:
        scratch: a folder of our own; name: of the model, which the signature states.

    Raises:
        ConfigError, SignatureError: as `Signer.config`, or it could not be signed.
    """
    config = signer.config()
    folder = scratch / "signed" / name
    folder.mkdir(parents=True)
    for file, content in upload.files.items():
        if not is_uncovered(file):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
    try:
        os.link(upload.weights, folder / WEIGHTS)
    except OSError:  # on another disk
        shutil.copyfile(upload.weights, folder / WEIGHTS)
    hashing = package("model_signing.hashing").Config()
    config.set_hashing_config(hashing.set_ignored_paths(paths=[*HUBS_OWN, MODEL_SIGNATURE]))
    try:
        config.sign(folder, folder / MODEL_SIGNATURE)
    except Exception as error:  # whatever the library, sigstore and the network raise
        raise SignatureError(
            f"The model could not be signed by '{signer.key}' ({type(error).__name__}: {error}): "
            f"nothing was uploaded; check the key or the network, or leave out --sign."
        ) from error
    count = len(statement((folder / MODEL_SIGNATURE).read_bytes(), MODEL_SIGNATURE).sha256)
    report(
        f"Signed {count} files by '{signer.key}' into {MODEL_SIGNATURE}. It does not cover "
        f"{', '.join((*HUBS_OWN, *GITS_OWN))}, which people may edit on the Hub."
    )
    return SignedUpload(signer, folder)


def check_alone(names: Collection[str], uploaded: Collection[str], ref: HubRef) -> None:
    """Refuse to sign a repository that holds files which this push does not upload.

    Raises:
        HubError: there is one.
    """
    others = sorted({*names} - {*uploaded, CARD, MODEL_SIGNATURE})
    if kept := [name for name in others if not is_uncovered(name)]:
        raise HubError(
            f"The Hub repository '{ref}' holds '{kept[0]}', which this push does not upload and no "
            f"signature would cover: delete it there, or push to another repository."
        )


def is_of(signature: bytes | None, contents: Mapping[str, bytes | Path]) -> bool:
    """Whether a signature, whoever made it, states the digests of these files."""
    if signature is None:
        return False
    try:
        said = statement(signature, MODEL_SIGNATURE).sha256
    except SignatureError:
        return False
    return said == {
        name: joined_sha256([content])
        if isinstance(content, Path)
        else hashlib.sha256(content).hexdigest()
        for name, content in contents.items()
        if not is_uncovered(name)
    }


def with_signature(upload: Upload, signature: bytes) -> Upload:
    """The same upload with a signature among its files."""
    return replace(upload, files={**upload.files, MODEL_SIGNATURE: signature})
