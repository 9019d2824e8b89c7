"""`vqazoo features`: the cache of encoded pictures and questions."""

from __future__ import annotations

from pathlib import Path

import click

from vqazoo import amounts
from vqazoo.cli.ending import told_when_interrupted
from vqazoo.cli.examples import ExampleCommand
from vqazoo.cli.options import JSON, part, run_assignments
from vqazoo.cli.output import print_json, print_table, progress, say

CACHE = click.option(
    "--cache",
    default="",
    help="Folder of caches; default: the folder features of $VQAZOO_CACHE, else of "
    "$XDG_CACHE_HOME/vqazoo, else of ~/.cache/vqazoo.",
)


@click.group()
def features() -> None:
    """Build, look at, verify and clear cached features of frozen encoders."""


@features.command(cls=ExampleCommand)
@part("--encoder", "encoder", "Both towers, such as {encoder} or {both}.")
@part("--image-encoder", "encoder", "Replaces the image tower.")
@part("--text-encoder", "encoder", "Replaces the text tower.")
@part("--fusion", "fusion", "Tells which features are needed; default: the head's own choice.")
@part("--head", "head", "The head that will be trained; default: that of --config, else any.")
@part("--data", "dataset", "Dataset.")
@click.option("--data-root", help="Folder of the dataset's official files.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file, as for vqazoo train.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="As for train.")
@click.option("--split", "splits", multiple=True, help="May be repeated; default: all.")
@click.option(
    "--skip-missing", is_flag=True, help="Leave out pictures that do not exist or cannot be read."
)
@click.option("--device", help="cpu, cuda, ...; default: cuda if there is one.")
@CACHE
@JSON
def build(
    encoder: str | None,
    image_encoder: str | None,
    text_encoder: str | None,
    fusion: str | None,
    head: str | None,
    data: str | None,
    data_root: str | None,
    config: Path | None,
    assignments: tuple[str, ...],
    splits: tuple[str, ...],
    skip_missing: bool,
    device: str | None,
    cache: str,
    as_json: bool,
) -> None:
    """Encode the pictures and questions of a dataset once, ahead of training.

    `vqazoo train` does this by itself; ahead is useful on another machine or over night. What was
    encoded before, by any run, is not encoded again.
    """
    from vqazoo.building import build_model
    from vqazoo.data import open_dataset, usable
    from vqazoo.data.answers import AnswerList
    from vqazoo.features.filling import build_images, build_questions
    from vqazoo.model import pick_device
    from vqazoo.training.settings import gather_config

    assignments = run_assignments(assignments, data_root)
    flags = {
        "encoder": encoder,
        "image_encoder": image_encoder,
        "text_encoder": text_encoder,
        "fusion": fusion,
        "head": head or (None if config else _any_head(fusion)),
        "data": data,
    }
    filled = gather_config(config, assignments, flags)
    reader = open_dataset(filled.data.type, filled.data.args)
    for split in splits:
        reader.check_split(split)
    examples = [e for split in splits or reader.splits() for e in reader.read(split)]
    skip_missing = skip_missing or filled.data.skip_missing
    examples, left_out = usable(examples, skip_missing, Path("missing-images.txt"))
    if left_out:
        say(f"Left out {left_out:,} questions without a picture.", err=True)
    model = build_model(filled.model, AnswerList.from_texts(["yes"]))  # the head is not used
    model.to(pick_device(device or filled.training.device))
    cache = cache or filled.training.cache

    def report(line: str) -> None:
        say(line, err=True)

    images = list(dict.fromkeys(example.image for example in examples))
    questions = list(dict.fromkeys(example.question for example in examples))
    with told_when_interrupted(
        lambda: "run the same command again; what was encoded is kept, a shard at a time."
    ):
        build_images(model, images, progress, cache, report)
        build_questions(model, questions, progress, cache, report)
    if as_json:
        print_json({"images": len(images), "questions": len(questions)})
        return
    say(f"{len(images):,} images and {len(questions):,} questions are cached.")


@features.command()
@CACHE
@JSON
def info(cache: str, as_json: bool) -> None:
    """List the caches: what made them, rows, size."""
    from vqazoo.features.cache import cache_root, list_caches

    caches = list_caches(cache_root(cache))
    if as_json:
        documents = [
            {"name": folder.name, "rows": rows, "bytes": size, **meta}
            for folder, meta, rows, size in caches
        ]
        print_json(documents)
        return
    if not caches:
        say(f"There are no cached features in '{cache_root(cache)}'.")
        return
    lines = [
        (
            folder.name,
            f"{rows:,} rows",
            amounts.size(size),
            f"{' and '.join(map(str, meta.get('kinds') or ['?']))} of {meta.get('encoder', '?')}",
        )
        for folder, meta, rows, size in caches
    ]
    print_table(("cache", "rows", "size", "features"), lines, right=("rows", "size"))


@features.command()
@click.argument("names", nargs=-1)
@CACHE
@JSON
def verify(names: tuple[str, ...], cache: str, as_json: bool) -> None:
    """Read every shard of the caches NAMES (default: all) and report damaged ones.

    Every shard is compared with its digest, the index with the shards, and the remembered digests
    of pictures with the pictures. Whether rows still are what the encoder gives is checked on a
    sample by every run that uses them.
    """
    from vqazoo.features.cache import FeatureCache, cache_root
    from vqazoo.files.keys import FileKeys

    documents: list[dict[str, object]] = []
    bad = shards_bad = 0
    held_keys: list[set[str]] = []  # of each cache; of a picture, its digest
    for folder, meta in _chosen(names, cache):
        opened = FeatureCache(folder, meta)
        keys = {key.partition("-")[0] for held in opened.held for key in held}
        held_keys.append(keys)
        damaged = [*opened.dropped, *opened.damaged()]
        bad += len(damaged)
        shards_bad += len([name for name in damaged if name.startswith("shard-")])
        rows, shards, old = len(opened), len(opened.shards), opened.unchecked()
        documents.append(
            {
                "name": folder.name,
                "rows": rows,
                "shards": shards,
                "damaged": damaged,
                "without_digest": old,
            }
        )
        state = f"damaged: {', '.join(damaged)}" if damaged else "good"
        if old:
            state += f" ({len(old):,} of an earlier release, without a digest to compare)"
        if not as_json:
            say(f"{folder.name}  {rows:,} rows in {shards:,} shards  {state}")
    known = FileKeys(cache_root(cache))
    changed = known.changed(set().union(*held_keys) if names else None)
    known.save()
    for document, keys in zip(documents, held_keys, strict=True):
        document["changed_pictures"] = [name for name, key in changed.items() if key in keys]
    if as_json:
        print_json(documents)
    problems = []
    if bad:
        what, are, them = ("file", "is", "it") if bad == 1 else ("files", "are", "them")
        next_step = (
            f"delete {them}, and the next run computes the rows anew"
            if shards_bad
            else f"delete {them}; no row is lost, as the next run reads the shards themselves"
        )
        problems.append(f"{bad} {what} in '{cache_root(cache)}' {are} damaged: {next_step}.")
    if changed:
        several = f"and {len(changed) - 1:,} more were" if len(changed) > 1 else "was"
        problems.append(
            f"'{next(iter(changed))}' {several} changed though its size and times say otherwise: "
            f"the next run reads it anew."
        )
    if problems:
        raise click.ClickException(" ".join(problems))


@features.command()
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Remove all caches.")
@CACHE
@JSON
def clear(names: tuple[str, ...], everything: bool, cache: str, as_json: bool) -> None:
    """Remove the caches NAMES, or --all of them."""
    from vqazoo.features.cache import clear as remove

    if bool(names) == everything:
        raise click.UsageError("Name the caches to remove (see vqazoo features info), or --all.")
    folders = [folder for folder, _ in _chosen(names, cache)]
    freed = remove(folders)
    if as_json:
        print_json({"removed": [folder.name for folder in folders], "bytes": freed})
        return
    caches = "1 cache" if len(folders) == 1 else f"{len(folders)} caches"
    say(f"Removed {caches}, {amounts.size(freed)}.")


def _any_head(fusion: str | None) -> str | None:
    """A head for a config that names none, since it is not used: one that takes what the fusion
    gives, or whose own fusion reads pooled features."""
    from vqazoo.manifests import HeadManifest
    from vqazoo.registry import registry

    pooled = {"image.pooled", "text.pooled"}
    for name, head in registry.usable(HeadManifest):
        joined = registry.manifest("fusion", fusion or head.default_fusion)
        fits = head.requires == joined.provides if fusion else joined.requires == pooled
        if fits and not head.borrows:
            return name
    return None


def _chosen(names: tuple[str, ...], cache: str) -> list[tuple[Path, dict[str, object]]]:
    """The named caches, or all; an unknown name is an error."""
    from vqazoo.errors import UnknownNameError, did_you_mean
    from vqazoo.features.cache import cache_root, list_caches

    known = {folder.name: (folder, meta) for folder, meta, _, _ in list_caches(cache_root(cache))}
    for name in names:
        if name not in known:
            raise UnknownNameError(
                f"There is no cache {name!r} in '{cache_root(cache)}'."
                f"{did_you_mean(name, known)} Run 'vqazoo features info' to see all."
            )
    return [known[name] for name in names or known]
