"""Reader of A-OKVQA 1.0."""

from __future__ import annotations

from pathlib import Path
from sys import intern

from vqazoo.data import Example
from vqazoo_datasets.choices import listed, numbered
from vqazoo_datasets.files import ReleaseReader, data_folder, field, json_records, need_file, unique

SPLITS = ("train", "val", "test")
MULTIPLE_CHOICE, DIRECT = "multiple-choice", "direct"


class AOKVQA(ReleaseReader):
    """17,056 train, 1,145 val and 6,702 test questions about COCO 2017 pictures.

    A split is `aokvqa_v1p0_<split>.json`: a list of records `image_id, question_id, question,
    choices` (four texts), and but for test `correct_choice_idx`, `direct_answers` (ten texts) and
    `rationales`; `difficult_direct_answer` marks questions of the first task alone. Pictures are
    `<split>2017/<image_id in 12 digits>.jpg`, also in a folder `images`, and test ones in
    `test2017`.

    The release has two tasks. `mode` `multiple-choice`: each question gives its choices, of which
    one is right. `direct`: the ten answers, without choices; val questions that are marked as
    difficult are left out, as the authors' evaluation does.

    Source: Schwenk et al. 2022, A-OKVQA, and the authors' load_aokvqa.py and eval_predictions.py
    (allenai/aokvqa).
    """

    def __init__(self, data_root: str, mode: str) -> None:
        """Raises DataError if no split is there."""
        self.root = data_folder("a-okvqa", data_root)
        self.mode = mode
        self.released = {split: [f"aokvqa_v1p0_{split}.json"] for split in SPLITS}
        if not self.splits():
            names = [name for names in self.released.values() for name in names]
            need_file(self.root, names, "A-OKVQA questions")

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        file = need_file(self.root, self.released[split], f"A-OKVQA questions of '{split}'")
        inner = self.root / "images"
        folder = (inner if inner.is_dir() else self.root) / f"{split}2017"
        pictures: dict[int, Path] = {}
        seen: set[str] = set()
        examples: list[Example] = []
        for number, record in enumerate(json_records(file), start=1):
            where = f"'{file}', record {number}"
            question_id = unique(field(record, "question_id", str, where), seen, file)
            image = field(record, "image_id", int, where)
            choices = listed(record, "choices", where)
            answers: tuple[str, ...] = ()
            if split != "test" and self.mode == DIRECT:
                answers = listed(record, "direct_answers", where, 1)
                if split == "val" and field(record, "difficult_direct_answer", bool, where):
                    continue
            elif split != "test":
                answers = (numbered(record, "correct_choice_idx", choices, where),)
            if image not in pictures:
                pictures[image] = folder / f"{image:012}.jpg"
            examples.append(
                Example(
                    pictures[image],
                    intern(field(record, "question", str, where)),
                    answers,
                    question_id,
                    text_id=True,
                    choices=choices if self.mode == MULTIPLE_CHOICE else (),
                )
            )
        return examples
