"""Pickled weights that others published, written anew as safetensors. Imports torch.

The only place where a pickle that a user names is read: by `torch.load(weights_only=True)`, which
builds tensors and plain containers and runs no code of the file.
"""

from __future__ import annotations

import pickle
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from vqazoo.errors import WeightsError
from vqazoo.files.reading import MIB, check_no_pointer, is_plain_name, parse_json, shown
from vqazoo.files.replacing import new_folder
from vqazoo.files.writing import PICKLES, json_bytes
from vqazoo.hub.files import fetch_folder
from vqazoo.hub.requests import HubRef, asked
from vqazoo.progress import Report

# Names by which transformers (also inside a sentence-transformers folder) and open_clip find them.
TRANSFORMERS = ("pytorch_model.bin", "model.safetensors")
OPEN_CLIP = ("open_clip_pytorch_model.bin", "open_clip_model.safetensors")
PICKLE_INDEX = "pytorch_model.bin.index.json"
NEW_INDEX = "model.safetensors.index.json"
COPIED = (".json", ".txt", ".model", ".jinja")  # configs, vocabularies, templates
LICENCE = re.compile(r"(licen[cs]e|notice)\b.*", re.IGNORECASE)
SMALL = [f"*{ending}" for ending in COPIED] + ["LICENSE*", "NOTICE*"]
WRAPPED = ("state_dict", "model")  # where training frameworks put the tensors
PARALLEL_PREFIX = "module."  # of torch's data-parallel wrapper
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # of a terminal
UNPICKLER = "WeightsUnpickler error: "  # in torch's message, before what was wrong
DEEPEST = 2  # folders below the first one, as of sentence-transformers' modules


@dataclass
class Converted:
    """What a conversion did.

    Attributes:
        out: the new folder.
        read: pickles; written: safetensors; copied: files taken as they are, all by relative path.
        left_out: what the new folder does not have: files, or values of a pickle that are no
            tensors.
    """

    out: Path
    read: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def convert(source: str, out: Path, report: Report = lambda line: None) -> Converted:
    """Write the pickled weights of a Hub repository, folder or file as safetensors into a folder.

    Tensors keep names, shapes, dtypes and values; those that share memory, as tied weights do, are
    each written whole, so that no library needs to know which was tied. Configs, tokenizers and
    licences are copied. Weights that are safetensors already are copied too.

    Args:
        source: `owner/name`, `owner/name@revision`, a folder, or one file.
        out: the new folder; it must not exist, or be empty.

    Raises:
        WeightsError: there is no pickle that needs it, it holds more than tensors and plain values,
            or the folder cannot be written.
    """
    out = out.absolute()
    place = Path(source).expanduser()
    done = Converted(out)
    try:
        with new_folder(out, WeightsError) as fresh:
            if place.is_file():
                job = {Path(f"{place.stem}.safetensors"): (Path(place.name), None)}
                _write(job, place.parent, fresh, done, report)
            else:
                folder, files = (place, set(_files(place))) if place.is_dir() else _listed(source)
                _convert_folder(folder, files, source, fresh, done, report)
    except OSError as error:
        raise WeightsError(
            f"The converted weights could not be written to '{out}' ({error}): free space or name "
            f"another folder."
        ) from error
    return done


# ---- what is there --------------------------------------------------------------------------

Pickle = tuple[Path, frozenset[str] | None]  # a file and the tensors to take of it; None: all
Jobs = Mapping[Path, Pickle]  # by the file to write; paths are relative to the folder


def _files(folder: Path, below: Path = Path()) -> Iterator[Path]:
    """Files of a folder and of those below it, but for hidden ones, relative to it."""
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and len(below.parts) < DEEPEST:
            yield from _files(entry, below / entry.name)
        elif entry.is_file():
            yield below / entry.name


def _listed(source: str) -> tuple[Path, set[Path]]:
    """A snapshot with the small files of a repository, and the paths of all it has."""
    from huggingface_hub import HfApi

    repo, _, revision = source.partition("@")
    if source.startswith(("/", ".", "~")) or repo.count("/") != 1:
        raise WeightsError(
            f"There is no folder or file '{source}', and it names no Hub repository: write a path "
            f"or OWNER/NAME."
        )
    folder = fetch_folder(repo, revision or None, SMALL)
    ref = HubRef(repo, folder.name)
    names = asked(lambda: HfApi().list_repo_files(ref.repo, revision=ref.revision), ref)
    paths = {Path(name) for name in names if not name.startswith(".")}
    return folder, {path for path in paths if len(path.parts) <= DEEPEST + 1}


def _convert_folder(
    folder: Path, files: set[Path], source: str, fresh: Path, done: Converted, report: Report
) -> None:
    jobs = dict(_jobs(folder, files))
    if not jobs:
        held = sorted(str(path) for path in files if path.suffix in (*PICKLES, ".safetensors"))
        raise WeightsError(
            f"'{source}' has no pickled weights that need conversion (it has "
            f"{', '.join(held[:5]) or 'no weights'}): name a folder or repository with "
            f"{TRANSFORMERS[0]} or {OPEN_CLIP[0]}, or one file."
        )
    taken = {file for file, _ in jobs.values()}
    parts = {path for path in files if path.name == TRANSFORMERS[1] and len(path.parts) > 1}
    copied = {
        path for path in files if path.suffix in COPIED or LICENCE.fullmatch(path.name)
    } | parts
    if not Path(source).expanduser().is_dir():
        names = [escape(path.as_posix()) for path in (*taken, *copied)]
        folder = fetch_folder(source.partition("@")[0], folder.name, names)
    _write(jobs, folder, fresh, done, report)
    for file in sorted(files - taken):
        if file not in copied or file.name == PICKLE_INDEX:
            done.left_out.append(file.as_posix())
            continue
        (fresh / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / file, fresh / file)
        done.copied.append(file.as_posix())


def _jobs(folder: Path, places: set[Path]) -> Iterator[tuple[Path, Pickle]]:
    """Safetensors to write, and the pickle of each."""
    has_pickles = False
    for old, new in (TRANSFORMERS, OPEN_CLIP):
        for place in sorted(place for place in places if place.name == old):
            has_pickles = True
            if not {place.with_name(new), place.with_name(NEW_INDEX)} & places:
                yield place.with_name(new), (place, None)
    for place in sorted(place for place in places if place.name == PICKLE_INDEX):
        has_pickles = True
        if {place.with_name(name) for name in (*TRANSFORMERS, NEW_INDEX)} & places:
            continue  # the single file comes first, as in transformers
        for name, tensors in _shards(folder / place).items():
            yield place.with_name(_new_name(name)), (place.with_name(name), tensors)
    if has_pickles or any(place.suffix == ".safetensors" for place in places):
        return
    for place in sorted(places):  # of other names, such as those of one's own training
        if place.suffix in PICKLES:
            yield place.with_suffix(".safetensors"), (place, None)


def _shards(index: Path) -> dict[str, frozenset[str]]:
    """The pickled shards that an index names, and the tensors of each."""
    try:
        names = dict(parse_json(index.read_bytes())["weight_map"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"'{index}' is not an index of weights ({_told(error)}): get it again."
        ) from error
    shards: dict[str, set[str]] = {}
    for tensor, shard in names.items():
        if not (is_plain_name(shard) and shard.endswith(PICKLES)):
            raise WeightsError(
                f"'{index}' names the shard {shown(shard)}, but the name of a file of weights "
                f"beside it was expected: do not trust the folder."
            )
        shards.setdefault(shard, set()).add(tensor)
    return {name: frozenset(shards[name]) for name in sorted(shards)}


def _told(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def _new_name(shard: str) -> str:
    return f"{Path(shard).stem.replace('pytorch_model', 'model', 1)}.safetensors"


# ---- reading and writing --------------------------------------------------------------------


def _write(jobs: Jobs, folder: Path, fresh: Path, done: Converted, report: Report) -> None:
    """Convert one file after the other, and index those that are shards."""
    maps: dict[Path, dict[str, str]] = {}  # weight_map by the index to write
    for target, (file, wanted) in sorted(jobs.items()):
        report(f"Reading the pickle '{file}' with weights_only: its tensors alone, no code of it.")
        tensors, left_out = read_pickle(folder / file)
        if wanted is not None:
            if lacking := sorted(wanted - tensors.keys()):
                raise WeightsError(
                    f"'{folder / file.with_name(PICKLE_INDEX)}' says that '{file.name}' holds "
                    f"'{lacking[0]}', which it does not: get the files again, all of one revision."
                )
            left_out += sorted(tensors.keys() - wanted)
            tensors = {name: tensors[name] for name in sorted(wanted)}
            maps.setdefault(target.with_name(NEW_INDEX), {}).update(
                dict.fromkeys(tensors, target.name)
            )
        # A copy of each: safetensors writes no memory twice, and nothing but what a name shows.
        whole = {name: t.detach().clone().contiguous() for name, t in tensors.items()}
        (fresh / target).parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(whole, fresh / target, {"format": "pt"})
        except SafetensorError as error:  # as it tells a full disk
            raise OSError(str(error)) from error
        done.read.append(file.as_posix())
        done.written.append(target.as_posix())
        done.left_out += [f"{file.as_posix()}: {name}" for name in left_out]
    for index, weight_map in maps.items():
        (fresh / index).write_bytes(json_bytes({"metadata": {}, "weight_map": weight_map}))
        done.written.append(index.as_posix())


def read_pickle(file: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a pickle by name, and the names of what else it holds.

    Raises:
        WeightsError: it cannot be read as tensors alone, or holds no table of them.
    """
    try:
        with file.open("rb") as opened:
            check_no_pointer(opened.read(MIB), file, WeightsError)
        held = torch.load(
            file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
        )
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        message = COLOURS.sub("", " ".join(str(error).split()))
        # What comes before the last part tells how to load it anyway.
        message = message.rpartition(UNPICKLER)[2]
        reason = message[:200] or type(error).__name__
        raise WeightsError(
            f"'{file}' cannot be read as tensors alone ({reason}): only what "
            f"torch.load(weights_only=True) reads is converted; ask its author for safetensors."
        ) from error
    left_out = []
    while isinstance(held, Mapping) and not any(isinstance(v, Tensor) for v in held.values()):
        inner = {key for key in WRAPPED if isinstance(held.get(key), Mapping)}
        if len(inner) != 1:
            break
        left_out += [str(key) for key in held if key not in inner]
        held = held[inner.pop()]
    if not isinstance(held, Mapping) or not any(isinstance(v, Tensor) for v in held.values()):
        raise WeightsError(
            f"'{file}' holds {_summary(held)}, but a table of tensors, or one under "
            f"{' or '.join(WRAPPED)}, was expected: save the model's state_dict() alone."
        )
    tensors = {str(name): value for name, value in held.items() if isinstance(value, Tensor)}
    left_out += [str(name) for name, value in held.items() if not isinstance(value, Tensor)]
    unlike = [n for n, t in tensors.items() if t.layout != torch.strided or t.is_quantized]
    if unlike:
        raise WeightsError(
            f"'{file}' holds '{unlike[0]}', a sparse or quantised tensor, which safetensors cannot "
            f"store: save it as a plain one."
        )
    if all(name.startswith(PARALLEL_PREFIX) for name in tensors):
        tensors = {name.removeprefix(PARALLEL_PREFIX): tensor for name, tensor in tensors.items()}
    return tensors, left_out


def _summary(held: Any) -> str:
    if isinstance(held, Mapping):
        return f"a table of {shown([str(key) for key in held])}"
    return f"a {type(held).__name__}"
