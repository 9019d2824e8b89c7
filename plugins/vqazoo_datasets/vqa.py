"""Readers of the VQA schema: one file of questions, one of annotations. VQA v2, OK-VQA, VQA-CP."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from sys import intern
from typing import Any

from vqazoo.data import Example
from vqazoo.data.comparison import compared_by_stems
from vqazoo.errors import ConfigError, DataError
from vqazoo_datasets.coco import CocoPictures
from vqazoo_datasets.files import (
    GET_AGAIN,
    ID,
    ReleaseReader,
    data_folder,
    field,
    json_records,
    need_file,
    optional,
    users_own,
)

Id = int | str  # as the file has it


@dataclass(frozen=True)
class Release:
    """Where one split stands: names of both files, and the COCO subset of its pictures.

    `{split}` stands for the split in the names; an empty `annotations` means unlabelled. With
    `lists` the files are lists, and each question names the subset of its picture.
    """

    questions: str
    annotations: str
    pictures: str
    lists: bool = False


VQAV2 = {
    "train": Release(
        "v2_OpenEnded_mscoco_train2014_questions.json",
        "v2_mscoco_train2014_annotations.json",
        "train2014",
    ),
    "val": Release(
        "v2_OpenEnded_mscoco_val2014_questions.json",
        "v2_mscoco_val2014_annotations.json",
        "val2014",
    ),
    "test-dev": Release("v2_OpenEnded_mscoco_test-dev2015_questions.json", "", "test2015"),
    "test": Release("v2_OpenEnded_mscoco_test2015_questions.json", "", "test2015"),
}
OKVQA_RELEASE = {
    "train": Release(
        "OpenEnded_mscoco_train2014_questions.json",
        "mscoco_train2014_annotations.json",
        "train2014",
    ),
    "val": Release(
        "OpenEnded_mscoco_val2014_questions.json", "mscoco_val2014_annotations.json", "val2014"
    ),
}
VQACP = {
    split: Release(
        f"vqacp_v2_{split}_questions.json", f"vqacp_v2_{split}_annotations.json", "", True
    )
    for split in ("train", "test")
}


class VQAv2(ReleaseReader):
    """443,757 train, 214,354 val, 447,793 test questions about 82,783, 40,504 and 81,434 pictures.

    Both files may be plain JSON, or that with .gz or .zip added. Pictures are found as
    `CocoPictures` says. Files of your own in this schema are read with `questions` and
    `annotations`, names in which `{split}` stands for the split, and `pictures`, the COCO subset in
    the picture names. Ids of questions and pictures may be numbers or texts; a picture's text is
    the name of its file. Questions of VQA-Rephrasings (Shah et al. 2019) name the one that they
    rephrase, as `rephrasing_of`.

    Source: Goyal et al. 2017; format of visualqa.org/download.
    """

    def __init__(self, data_root: str, questions: str, annotations: str, pictures: str) -> None:
        """Raises ConfigError for a pattern without `{split}`, or annotations without questions."""
        self.root = data_folder("vqav2", data_root)
        self.releases = VQAV2
        for name, pattern in (("questions", questions), ("annotations", annotations)):
            if pattern and "{split}" not in pattern:
                raise ConfigError(
                    f"The argument {name} of 'vqav2' is {pattern!r}, but '{{split}}' was expected "
                    f"in it: write for instance 'questions_{{split}}.json.gz'."
                )
        if annotations and not questions:
            raise ConfigError(
                f"The argument annotations of 'vqav2' is {annotations!r}, but questions is empty: "
                f"give the names of both."
            )
        if questions:
            splits = _splits_of(self.root, questions)
            if not splits:
                need_file(self.root, [questions], "questions file")
            self.releases = {
                split: Release(
                    questions.replace("{split}", split),
                    annotations.replace("{split}", split),
                    pictures,
                )
                for split in splits
            }
        self.released = {split: [release.questions] for split, release in self.releases.items()}

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        with users_own(self.releases is not VQAV2):
            return read_release(self.root, self.releases[split], split)


class OKVQA(ReleaseReader):
    """9,009 train and 5,046 val questions about COCO pictures; each of five answers counts twice.

    Files `OpenEnded_mscoco_<subset>_questions.json` and `mscoco_<subset>_annotations.json`. The
    release stems people's answers: `raw_answer` "surfing" is published as `answer` "surf". What
    people said is learnt, and a given answer is stemmed before it is compared: see `Stems`.

    Source: Marino et al. 2019, OK-VQA, section 3; release 1.1.
    """

    def __init__(self, data_root: str) -> None:
        self.root = data_folder("okvqa", data_root)
        self.released = {split: [release.questions] for split, release in OKVQA_RELEASE.items()}

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        return read_release(self.root, OKVQA_RELEASE[split], split)


class VQACPv2(ReleaseReader):
    """Questions and answers of VQA v2, split so that answers of a question type differ in test.

    Files `vqacp_v2_{train,test}_questions.json` and `..._annotations.json`, each a list of the
    records of VQA v2. A question's `coco_split`, `train2014` or `val2014`, is the subset of its
    picture; both splits have pictures of both.

    Source: Agrawal et al. 2018, Don't Just Assume; Look and Answer, section 3.
    """

    def __init__(self, data_root: str) -> None:
        self.root = data_folder("vqa-cp", data_root)
        self.released = {split: [release.questions] for split, release in VQACP.items()}

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        return read_release(self.root, VQACP[split], split)


def _splits_of(root: Path, pattern: str) -> list[str]:
    """Names that stand for `{split}` in the files of a folder; `train` first."""
    path = (root / pattern).as_posix()
    first, *others = re.escape(path).split(re.escape("{split}"))
    fits = re.compile(first + r"([^/]+?)" + r"\1".join(others) + r"(\.gz|\.zip)?")
    names = glob.glob(glob.escape(path).replace("{split}", "*") + "*")
    files = (Path(name).as_posix() for name in names)
    splits = {match.group(1) for file in files if (match := fits.fullmatch(file))}
    return sorted(splits, key=lambda name: (name != "train", name == "test", name))


def read_release(root: Path, release: Release, split: str) -> list[Example]:
    """Questions joined with their annotations, in the order of the questions file.

    Raises:
        DataError: a file is malformed, an id occurs twice, or the two files do not fit.
    """
    file = need_file(root, [release.questions], f"questions file of '{split}'")
    labelled = bool(release.annotations)
    annotations: dict[Id, Example] = {}
    if labelled:
        source = need_file(root, [release.annotations], f"annotations file of '{split}'")
        annotations = _annotations(source, None if release.lists else "annotations")
    examples: list[Example] = []
    pictures: dict[str, CocoPictures] = {}
    seen: set[Id] = set()
    names: set[str] = set()  # 2 and "2" would be one id
    without: list[Id] = []
    for number, record in enumerate(
        json_records(file, None if release.lists else "questions"), start=1
    ):
        where = f"'{file}', question {number}"
        question_id = field(record, "question_id", ID, where)
        if str(question_id) in names:
            raise DataError(
                f"{where}: the question_id {question_id!r} occurs twice, but each must be unique: "
                f"{GET_AGAIN}."
            )
        seen.add(question_id)
        names.add(str(question_id))
        image_id = field(record, "image_id", ID, where)
        note = annotations.get(question_id)
        if labelled and note is None:
            without.append(question_id)
            continue
        subset = field(record, "coco_split", str, where) if release.lists else release.pictures
        if subset not in pictures:
            pictures[subset] = CocoPictures(root, subset)
        examples.append(
            Example(
                pictures[subset].find(image_id),
                intern(field(record, "question", str, where)),
                note.answers if note else (),
                str(question_id),
                answer_type=note.answer_type if note else "",
                question_type=note.question_type if note else "",
                confidences=note.confidences if note else (),
                learnt=note.learnt if note else (),
                text_id=isinstance(question_id, str),
                rephrasing_of=str(optional(record, "rephrasing_of", ID, "", where)),
            )
        )
    _check_fit(file, without, sorted(annotations.keys() - seen, key=str))
    return compared_by_stems(examples)


def _annotations(file: Path, key: str | None) -> dict[Id, Example]:
    """Annotations by question id, as examples without image and question."""
    annotations: dict[Id, Example] = {}
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}  # equal tuples are kept once
    nowhere = Path()
    for number, record in enumerate(json_records(file, key), start=1):
        where = f"'{file}', annotation {number}"
        question_id = field(record, "question_id", ID, where)
        if question_id in annotations:
            raise DataError(
                f"{where}: the question_id {question_id!r} occurs twice, but each must be unique: "
                f"{GET_AGAIN}."
            )
        answers, confidences, raw = _answers(field(record, "answers", list, where), where)
        annotations[question_id] = Example(
            nowhere,
            "",
            shared.setdefault(answers, answers),
            "",
            answer_type=intern(optional(record, "answer_type", str, "", where)),
            question_type=intern(optional(record, "question_type", str, "", where)),
            confidences=shared.setdefault(confidences, confidences),
            learnt=shared.setdefault(raw, raw),
        )
    return annotations


def _answers(
    entries: list[Any], where: str
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Answers as published, their confidences, and what people said if the answers are stems."""
    try:
        answers = tuple(intern(entry["answer"]) for entry in entries)
        confidences = tuple(intern(entry.get("answer_confidence") or "") for entry in entries)
        raw = tuple(intern(entry.get("raw_answer") or "") for entry in entries)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{where}: 'answers' is {str(entries)[:60]}, but a list of objects with 'answer' was "
            f"expected: {GET_AGAIN}."
        ) from error
    if not answers:
        raise DataError(f"{where}: there is no answer, but at least one was expected: {GET_AGAIN}.")
    return answers, confidences if all(confidences) else (), raw if all(raw) else ()


def _check_fit(file: Path, without: list[Id], left: list[Id]) -> None:
    """Questions and annotations must name the same ids."""
    if without:
        raise DataError(
            f"'{file}': {len(without):,} questions have no annotation, the first is "
            f"{without[0]!r}: the two files are of different releases or cut off; {GET_AGAIN}."
        )
    if left:
        raise DataError(
            f"'{file}' lacks {len(left):,} questions that are annotated, the first is {left[0]!r}: "
            f"the two files are of different releases or cut off; {GET_AGAIN}."
        )
