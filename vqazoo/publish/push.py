"""Pushing checkpoint folders to the Hugging Face Hub. Imports torch.

A push is one commit of all files, so a killed one leaves the repository as it was. Tokens are
huggingface_hub's affair.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vqazoo.amounts import size
from vqazoo.card import merge
from vqazoo.card.prose import split_front
from vqazoo.catalogue import (
    PIN,
    Pin,
    content_digest,
    digest_of_config,
    read_pin,
    write_pin,
)
from vqazoo.checkpoint.folder import read_folder
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.errors import CheckpointError, ConfigError, HubError
from vqazoo.files.known_digests import reading_all
from vqazoo.files.places import public
from vqazoo.files.switch import steady
from vqazoo.files.writing import (
    CARD,
    CONFIG,
    EVAL_RESULTS,
    MODEL_SIGNATURE,
    WEIGHTS,
    editing,
    write_file,
)
from vqazoo.hub.requests import HubRef, asked
from vqazoo.keywords import names_keywords
from vqazoo.progress import Report
from vqazoo.publish.bundle import bundle_encoders
from vqazoo.publish.card_merge import merge_cards
from vqazoo.publish.pinning import pin_commit, zoo_name
from vqazoo.publish.pull import remote_file
from vqazoo.publish.signing import (
    SIGSTORE,
    SignedUpload,
    Signer,
    check_alone,
    is_of,
    sign_upload,
    with_signature,
)
from vqazoo.publish.upload import Upload, front_statements, prepare
from vqazoo.zoo.models import checkpoint_folder

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

    from vqazoo.model import VQAModel

COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Pushed:
    """What a push did, or would do.

    Attributes:
        repo: owner/name; commit: its 40 digits, empty after a dry run; url: of the commit or pull
            request.
        sizes: bytes of every file by name.
    """

    repo: str
    commit: str
    url: str
    sizes: Mapping[str, int]


@reading_all()
@names_keywords
def push(
    model: VQAModel | str | Path,
    repo: str,
    *,
    private: bool = False,
    revision: str = "",
    message: str = "",
    create_pr: bool = False,
    pin: bool = False,
    include_encoder: bool = False,
    encoder_license: str = "",
    license: str = "",
    language: str = "",
    sign: str = "",
    dry_run: bool = False,
    report: Report = lambda line: None,
) -> Pushed:
    """Upload a checkpoint folder, or a model, as one commit of a Hub repository.

    The card is generated anew; what people wrote in it, here or on the Hub, is kept.

    Args:
        model: a VQAModel, or a checkpoint folder.
        repo: OWNER/NAME; made if it does not exist.
        private: whether a new repository is private; one that is public is refused.
        revision: branch to push to, made if it does not exist; empty: the main branch.
        message: of the commit.
        create_pr: open a pull request instead of changing the branch.
        pin: write the commit into the zoo's catalogue, under the name in the recipe.
        include_encoder: put referenced encoder weights into the file, so that it loads alone.
        encoder_license: of weights that do not state theirs; needed to include them.
        license: of the trained weights, for the card, as the Hub spells it, such as cc-by-4.0;
            empty: the card's own or the recipe's, and none where neither states one.
        language: of questions and answers, for the card: en, or several as en,de; empty: the
            card's own, the recipe's or the data set's, and none where none states it.
        sign: a file with a private key that signs the uploaded files, or `sigstore`; see
            docs/how-to/sign.md.
        dry_run: upload nothing and ask the Hub nothing, except for encoders to include; tell what
            would be uploaded.
        report: receives lines of progress.

    Raises:
        CheckpointError: the folder is not whole. HubError: the Hub refused or cannot be reached.
        WeightsError: an encoder can be neither referenced nor included, such as one in a folder of
            this machine. ConfigError: arguments exclude each other, or a key cannot be used.
            SignatureError: it could not be signed.
    """
    ref = HubRef.parse(f"{repo}@{revision}" if revision else repo)
    if pin and create_pr:
        raise ConfigError(
            "A pull request cannot be pinned, because its commit is not merged yet: leave out pin, "
            "and pin with a later push."
        )
    stated = front_statements(license, language)
    if COMMIT.fullmatch(ref.revision):
        raise ConfigError(
            f"'{ref.revision}' is a commit, which cannot be changed: name a branch as revision."
        )
    with tempfile.TemporaryDirectory(prefix="vqazoo-push-") as scratch:
        own = None
        if isinstance(model, (str, Path)):
            folder = own = checkpoint_folder(Path(str(model).removeprefix("dir:")).expanduser())
        else:
            folder = Path(scratch) / ref.repo.partition("/")[2]
            save_checkpoint(model, folder)
        read_folder(folder)
        name = zoo_name(folder, required=pin)
        title = name or ref.repo.partition("/")[2]
        source = folder
        if include_encoder:
            source = bundle_encoders(folder, Path(scratch) / "bundle", encoder_license, report)
        title = public(name) or ref.repo.partition("/")[2]
        upload = steady(
            folder, lambda: _taken(prepare(folder, source, title, stated, ref), Path(scratch))
        )
        _tell_results(upload, report)
        signed = None
        if sign and not (dry_run and sign == SIGSTORE):  # which keeps every signature for ever
            signed = sign_upload(upload, Signer(sign), Path(scratch), title, report)
            upload = with_signature(upload, signed.signature(None))
        if dry_run:
            _ask_for_statements(merge(upload.card, upload.fresh), report)
            return Pushed(ref.repo, "", "", upload.sizes(merge(upload.card, upload.fresh)))
        message = message or f"{title}: pushed by vqazoo"
        done, card = _commit(upload, folder, ref, private, message, create_pr, report, signed)
        here = Pin(done.repo, done.commit, content_digest(upload.files[CONFIG]))
        if own and not create_pr:
            _note(own, here, "" if include_encoder else card, report)
        if pin:
            pin_commit(upload, card, name, here)
        _ask_for_statements(card, report)
    return done


def _taken(upload: Upload, scratch: Path) -> Upload:
    """The same upload, of weights that are still there when a training run has saved others.

    Raises:
        CheckpointError: the weights are not those of the config, since it was read.
    """
    taken = scratch / WEIGHTS
    taken.unlink(missing_ok=True)
    try:
        os.link(upload.weights.resolve(), taken)
    except OSError:  # on another disk
        shutil.copyfile(upload.weights, taken)
    with open(taken, "rb") as weights:
        digest = hashlib.file_digest(weights, "sha256").hexdigest()
    if digest != json.loads(upload.files[CONFIG])["sha256"].get(WEIGHTS):
        raise CheckpointError(
            f"'{upload.weights}' was replaced while it was read: push again when nothing writes it."
        )
    return replace(upload, weights=taken)


def _tell_results(upload: Upload, report: Report) -> None:
    if upload.left_out:
        report(
            f"{EVAL_RESULTS} leaves out the scores of {', '.join(upload.left_out)}, whose id on "
            f"the Hub is not known: hf:OWNER/NAME has one, and a reader may state one (hub_id)."
        )


def _ask_for_statements(card: str, report: Report) -> None:
    front = split_front(card)[0]
    if not front.get("language"):
        report("The model card states no language of the questions: name it with --language.")
    if not front.get("license"):
        report(
            "The model card states no licence of the weights: heed those of the data and of the "
            "encoder, and name yours with --license."
        )


def _commit(
    upload: Upload,
    folder: Path,
    ref: HubRef,
    private: bool,
    message: str,
    create_pr: bool,
    report: Report,
    signed: SignedUpload | None,
) -> tuple[Pushed, str]:
    """Upload everything; what was done, and the card as it was merged."""
    from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(library_name="vqazoo")
    info = _head(api, ref, private, create_pr)
    head = info.sha or ""
    at = HubRef(ref.repo, head)
    names = {file.rfilename for file in info.siblings or ()}
    card = merge_cards(
        upload.card, _text(remote_file(at, CARD)), _base(folder, at), upload.fresh, ref
    )
    contents: dict[str, bytes | Path] = {**upload.files, WEIGHTS: upload.weights}
    earlier = remote_file(at, MODEL_SIGNATURE) if MODEL_SIGNATURE in names else None
    gone = []
    if signed:
        check_alone(names, contents, ref)
        contents[MODEL_SIGNATURE] = signed.signature(earlier)
    elif earlier is not None and not is_of(earlier, contents):
        gone = [MODEL_SIGNATURE]
        report(
            f"The {MODEL_SIGNATURE} on the Hub is of other files and goes: sign these with --sign."
        )
    contents[CARD] = card.encode()
    sizes = upload.sizes(card)
    report(f"Uploading {len(sizes)} files, {size(sum(sizes.values()))}, to '{ref}'.")

    def commit() -> CommitInfo:
        # Made anew for each try: of a commit whose answer was lost, nothing is left to do then.
        # The parent refuses it if somebody else came first.
        return api.create_commit(
            ref.repo,
            [
                *(CommitOperationAdd(name, content) for name, content in contents.items()),
                *(CommitOperationDelete(name) for name in gone),
            ],
            commit_message=message,
            revision=ref.revision or None,
            create_pr=create_pr,
            parent_commit=head,
        )

    made = asked(commit, ref, writing=True, once=create_pr)
    if made.oid == head:
        report(f"'{ref}' has all of this already; nothing was changed.")
    return Pushed(ref.repo, made.oid, made.pr_url or made.commit_url, sizes), card


def _head(api: HfApi, ref: HubRef, private: bool, create_pr: bool) -> ModelInfo:
    """The commit to push onto, of a repository and branch that are made if they are not there."""
    asked(
        lambda: api.create_repo(ref.repo, private=private or None, exist_ok=True),
        ref,
        writing=True,
    )
    if ref.revision and not create_pr and not ref.revision.startswith("refs/"):
        asked(
            lambda: api.create_branch(ref.repo, branch=ref.revision, exist_ok=True),
            ref,
            writing=True,
        )
    info = asked(lambda: api.model_info(ref.repo, revision=ref.revision or None), ref)
    if private and info.private is False:
        raise HubError(
            f"The Hub repository '{ref.repo}' exists and is public, so nothing was pushed: leave "
            f"out --private, make it private in its settings, or choose another name."
        )
    return info


def _base(folder: Path, head: HubRef) -> str | None:
    """The card on the Hub when this folder was last pushed to or pulled from that repository."""
    seen = read_pin(folder)
    if seen is None or seen.repo != head.repo:
        return None
    with contextlib.suppress(HubError):  # its history may be another one now
        return _text(remote_file(HubRef(seen.repo, seen.revision), CARD))
    return None


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode(errors="replace")


def _note(folder: Path, pin: Pin, card: str, report: Report) -> None:
    """Keep in the folder which commit it is on the Hub, and the card as it is there; but not in
    one that holds another model, since a training run saved it meanwhile.

    Args:
        card: empty: none is kept, and no commit either.
    """
    if folder.absolute().parent.name == "snapshots":  # of the Hub's cache, which is not ours
        return
    try:
        with editing(folder):
            if not card or digest_of_config(folder) != pin.config_sha256:
                return
            if (folder / CARD).is_file():
                write_file(folder / CARD, card.encode())
            write_pin(folder, pin)
    except (OSError, CheckpointError) as error:
        report(f"It was pushed, but '{folder / PIN}' could not be written ({error}).")
