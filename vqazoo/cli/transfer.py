"""`vqazoo push` and `vqazoo pull`: checkpoint folders to and from the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

import click

from vqazoo.amounts import count
from vqazoo.cli.completion import complete_model
from vqazoo.cli.ending import told_when_interrupted
from vqazoo.cli.options import JSON, signed_by_options
from vqazoo.cli.output import print_json, print_table, say


@click.command()
@click.argument("folder", metavar="DIR")
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="Make a new repository private; refuse a public one.")
@click.option("--revision", default="", metavar="BRANCH", help="Branch; made if it is not there.")
@click.option("--message", default="", help="Message of the commit.")
@click.option("--create-pr", is_flag=True, help="Open a pull request instead of a commit.")
@click.option("--pin", is_flag=True, help="Write the commit into the zoo's catalogue.")
@click.option("--include-encoder", is_flag=True, help="Upload encoders too.")
@click.option(
    "--encoder-license",
    default="",
    metavar="NAME",
    help="Licence of included weights that do not state theirs.",
)
@click.option(
    "--license",
    default="",
    metavar="ID",
    help="Licence of the trained weights for the card, such as cc-by-4.0.",
)
@click.option(
    "--language",
    default="",
    metavar="CODE",
    help="Language of questions and answers for the card: en, or en,de.",
)
@click.option(
    "--sign",
    default="",
    metavar="KEY",
    help="Sign the files by a private key in a file, or by 'sigstore'.",
)
@click.option("--dry-run", is_flag=True, help="Tell what would be uploaded; ask the Hub nothing.")
@JSON
def push(
    folder: str,
    repo: str,
    private: bool,
    revision: str,
    message: str,
    create_pr: bool,
    pin: bool,
    include_encoder: bool,
    encoder_license: str,
    license: str,
    language: str,
    sign: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Upload the checkpoint folder DIR to the Hub repository OWNER/NAME, as one commit.

    Only what was trained is uploaded; frozen encoders are referenced. Log in first: hf auth login.

    Example: vqazoo push runs/first/best me/my-first-vqa --private
    """
    from vqazoo.publish.push import push as upload

    with told_when_interrupted(
        lambda: "a model is published by one commit at the end, so run the same command again."
    ):
        done = upload(
            folder,
            repo,
            private=private,
            revision=revision,
            message=message,
            create_pr=create_pr,
            pin=pin,
            include_encoder=include_encoder,
            encoder_license=encoder_license,
            license=license,
            language=language,
            sign=sign,
            dry_run=dry_run,
            report=lambda line: say(line, err=True),
        )
    if as_json:
        print_json({"repo": done.repo, "url": done.url, "commit": done.commit, "sizes": done.sizes})
        return
    if dry_run:
        rows = [(count(size), name) for name, size in done.sizes.items()]
        total = count(sum(done.sizes.values()))
        last = (total, f"bytes would be uploaded to '{repo}'.")
        print_table(("bytes", "file"), [*rows, last], right=("bytes",))
        return
    say(done.url)
    if not create_pr:
        say(f'Load it with  vqazoo.load("hub:{done.repo}@{done.commit}")')


@click.command()
@click.argument("ref", shell_complete=complete_model)
@click.argument("folder", required=False, metavar="[DIR]", type=click.Path(path_type=Path))
@click.option("--cache-dir", type=click.Path(path_type=Path), help="Folder of the Hub's cache.")
@signed_by_options
@JSON
def pull(
    ref: str,
    folder: Path | None,
    cache_dir: Path | None,
    identity: str,
    issuer: str,
    as_json: bool,
) -> None:
    """Fetch a model from the Hub, verify it, and copy it to DIR (else it stays in the cache).

    REF is hub:OWNER/NAME, hub:OWNER/NAME@REVISION, or a zoo name.

    Example: vqazoo pull hub:me/my-first-vqa runs/pulled
    """
    from vqazoo.publish.pull import pull as fetch

    with told_when_interrupted(
        lambda: "run the same command again; files that were whole are not fetched twice."
    ):
        place = fetch(
            ref,
            folder,
            cache_dir,
            identity=identity,
            issuer=issuer,
            report=lambda line: say(line, err=True),
        )
    if as_json:
        print_json({"ref": ref, "folder": str(place)})
        return
    say(str(place))
