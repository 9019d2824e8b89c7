"""`vqazoo features`: the cache of encoded pictures and questions."""

from __future__ import annotations

from pathlib import Path

import click

from vqazoo import amounts
from vqazoo.cli.features_build import CACHE, build
from vqazoo.cli.options import JSON
from vqazoo.cli.output import print_json, print_table, say


@click.group()
def features() -> None:
    """Build, join, look at, verify and clear cached features of frozen encoders."""


features.add_command(build)


@features.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@CACHE
@JSON
def merge(folders: tuple[Path, ...], cache: str, as_json: bool) -> None:
    """Join what jobs with --shards wrote, and bring in the caches of other FOLDERS.

    The next run that uses a cache joins its parts by itself; folders of other machines are copied
    here first, or mounted. Rows that are there already stay; damaged shards are left out.
    """
    from vqazoo.features.cache import cache_root
    from vqazoo.features.parts import merge_caches as merged

    documents = []
    for folder, rows, damaged in merged(cache_root(cache), folders):
        documents.append(
            {"name": folder.name, "rows": rows, "damaged": [str(file) for file in damaged]}
        )
        if not as_json:
            say(f"{folder.name}  {rows:,} rows joined")
        for file in damaged:
            say(f"'{file}' is damaged and was left out: its rows are computed anew.", err=True)
    if as_json:
        print_json(documents)
    elif not documents:
        say("There was nothing to join.")


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
