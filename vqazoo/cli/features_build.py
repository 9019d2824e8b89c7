"""`vqazoo features build`: encode by one process, one of many jobs, or the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vqazoo import amounts
from vqazoo.cli.ending import told_when_interrupted
from vqazoo.cli.examples import ExampleCommand
from vqazoo.cli.options import JSON, part, run_assignments
from vqazoo.cli.output import print_json, progress, say

if TYPE_CHECKING:
    from vqazoo.model import VQAModel

CACHE = click.option(
    "--cache",
    default="",
    help="Folder of caches; default: the folder features of $VQAZOO_CACHE, else of "
    "$XDG_CACHE_HOME/vqazoo, else of ~/.cache/vqazoo.",
)


@click.command(cls=ExampleCommand)
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
@click.option(
    "--shards", type=click.IntRange(min=1), help="Do one of so many shares, as one of as many jobs."
)
@click.option(
    "--shard", type=click.IntRange(min=0), help="Which share this job does, counted from 0."
)
@click.option(
    "--engine",
    type=click.Choice(["ray"]),
    help="ray: many workers, on the cluster at $RAY_ADDRESS, else on this machine.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Of --engine; default: one a GPU or 4 cores."
)
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
    shards: int | None,
    shard: int | None,
    engine: str | None,
    workers: int | None,
    cache: str,
    as_json: bool,
) -> None:
    """Encode the pictures and questions of a dataset once, ahead of training.

    `vqazoo train` does this by itself; ahead is useful on other machines or over night. What was
    encoded before, by any run, is not encoded again. Jobs with --shards write folders of their own,
    which the next run that uses the cache joins.
    """
    from vqazoo.building import build_to_encode
    from vqazoo.data import open_dataset, usable
    from vqazoo.features.filling import build_images, build_questions
    from vqazoo.training.settings import gather_config

    _check_spread(shards, shard, engine, workers)

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
    examples, left_out = usable(examples, skip_missing, None, progress)
    if left_out:
        say(f"Left out {left_out:,} questions without a picture.", err=True)
    model = build_to_encode(filled.model, device or filled.training.device)
    cache = cache or filled.training.cache

    images = list(dict.fromkeys(example.image for example in examples))
    questions = list(dict.fromkeys(example.question for example in examples))
    document: dict[str, object] = {"images": len(images), "questions": len(questions)}
    with told_when_interrupted(
        lambda: "run the same command again; what was encoded is kept, a shard at a time."
    ):
        if shards is not None and shard is not None:
            document |= _share(model, images, questions, (shard, shards), cache, as_json)
        else:
            if engine:
                make = partial(build_to_encode, filled.model)
                _by_ray(model, make, images, questions, (workers or 0, device or ""), cache)
            build_images(model, images, progress, cache, _to_stderr)
            build_questions(model, questions, progress, cache, _to_stderr)
    if as_json:
        print_json(document)
    elif shards is None:
        say(f"{len(images):,} images and {len(questions):,} questions are cached.")


def _check_spread(
    shards: int | None, shard: int | None, engine: str | None, workers: int | None
) -> None:
    """Raise UsageError for options that say two things, or half of one."""
    if (shards is None) != (shard is None):
        raise click.UsageError("--shards and --shard go together: give both, or neither.")
    if shards is not None and shard is not None and shard >= shards:
        raise click.UsageError(
            f"--shard is {shard}, but of {shards} shares the numbers are 0 to {shards - 1}: let "
            f"the scheduler count from 0, such as  sbatch --array=0-{shards - 1}."
        )
    if engine and shards is not None:
        raise click.UsageError("--engine shares the work out itself: leave --shards out.")
    if workers and not engine:
        raise click.UsageError("--workers are those of --engine ray: give that, or leave it out.")


def _share(
    model: VQAModel,
    images: list[Path],
    questions: list[str],
    share: tuple[int, int],
    cache: str,
    as_json: bool,
) -> dict[str, object]:
    """Do one share, and say what it was."""
    from vqazoo.features.filling import images_to_encode, questions_to_encode, told_of_all
    from vqazoo.features.spread import CacheShare, fill_share

    own = CacheShare(*share)
    with told_of_all(images, cache):
        pictures = fill_share(
            *images_to_encode(model, images, progress, cache, _to_stderr), own, cache
        )
    texts = fill_share(*questions_to_encode(model, questions, progress, _to_stderr), own, cache)
    encoded = pictures.encoded + texts.encoded
    if not as_json:
        now = f"{encoded:,} rows were encoded now" if encoded else "there was nothing to encode"
        say(
            f"Share {own}: {pictures.rows:,} images and {texts.rows:,} questions are cached; {now}."
        )
    rows = pictures.rows + texts.rows
    return {"shard": share[0], "shards": share[1], "rows": rows, "encoded": encoded}


def _by_ray(
    model: VQAModel,
    make: Callable[[str], VQAModel],
    images: list[Path],
    questions: list[str],
    wanted: tuple[int, str],
    cache: str,
) -> None:
    """Let the workers of a cluster encode what the caches lack."""
    from vqazoo.cluster import ray_cluster
    from vqazoo.features.filling import images_to_encode, questions_to_encode, told_of_all
    from vqazoo.features.spread import fill_by_cluster, unfilled

    work = [
        images_to_encode(model, images, progress, cache, _to_stderr),
        questions_to_encode(model, questions, progress, _to_stderr),
    ]
    if not unfilled(work, cache):
        _to_stderr("There is nothing to encode.")
        return
    with ray_cluster("--engine ray", *wanted, _to_stderr) as cluster, told_of_all(images, cache):
        rows = fill_by_cluster(cluster, make, work, progress, cache)
        _to_stderr(f"Encoded {rows:,} rows with {amounts.count(cluster.workers)} workers.")


def _to_stderr(line: str) -> None:
    say(line, err=True)


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
