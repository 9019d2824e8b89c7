"""`vqazoo push` and `vqazoo pull`: checkpoint folders to and from the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", metavar="DIR")
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="Make a new repository private; refuse a public one.")
@click.option("--revision", default="", metavar="BRANCH", help="Branch; made if it is not there.")
@click.option("--message", default="", help="Message of the commit.")
@click.option("--create-pr", is_flag=True, help="Open a pull request instead of a commit.")
@click.option("--pin", is_flag=True, help="Write the commit into the zoo's catalogue.")
@click.option("--include-encoder", is_flag=True, help="Upload referenced encoder weights too.")
@click.option("--encoder-license", default="", metavar="NAME",
              help="Licence of included weights that do not state theirs.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Tell what would be uploaded; ask the Hub nothing.")
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
    dry_run: bool,
) -> None:
    """Upload the checkpoint folder DIR to the Hub repository OWNER/NAME, as one commit.

    Only what was trained is uploaded; frozen encoders are referenced. Log in first: hf auth login.

    Example: vqazoo push runs/first/best me/my-first-vqa --private
    """
    from vqazoo import transfer

    done = transfer.push(
        folder,
        repo,
        private=private,
        revision=revision,
        message=message,
        create_pr=create_pr,
        pin=pin,
        include_encoder=include_encoder,
        encoder_license=encoder_license,
        dry_run=dry_run,
        report=lambda line: click.echo(line, err=True),
    )
    if dry_run:
        for name, size in done.sizes.items():
            click.echo(f"{size:>14,}  {name}")
        click.echo(f"{sum(done.sizes.values()):>14,}  bytes would be uploaded to '{repo}'.")
        return
    click.echo(done.url)
    if not create_pr:
        click.echo(f'Load it with  vqazoo.load("hub:{done.repo}@{done.commit}")')


@click.command()
@click.argument("ref")
@click.argument("folder", required=False, metavar="[DIR]", type=click.Path(path_type=Path))
@click.option("--cache-dir", type=click.Path(path_type=Path), help="Folder of the Hub's cache.")
def pull(ref: str, folder: Path | None, cache_dir: Path | None) -> None:
    """Fetch a model from the Hub, verify it, and copy it to DIR (else it stays in the cache).

    REF is hub:OWNER/NAME, hub:OWNER/NAME@REVISION, or a zoo name.

    Example: vqazoo pull hub:me/my-first-vqa runs/pulled
    """
    from vqazoo.transfer import pull as fetch

    click.echo(str(fetch(ref, folder, cache_dir)))
