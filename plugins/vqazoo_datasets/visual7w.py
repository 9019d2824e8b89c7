"""Reader of Visual7W, the telling questions."""

from __future__ import annotations

from sys import intern

from vqazoo.data import DatasetReader, Example
from vqazoo.errors import DataError
from vqazoo_datasets.choices import listed
from vqazoo_datasets.files import GET_AGAIN, ID, data_folder, field, json_records, need_file, unique

SPLITS = ("train", "val", "test")
TELLING = ("dataset_v7w_telling.json", "dataset.json")


class Visual7W(DatasetReader):
    """69,817 train, 28,020 val and 42,031 test questions, each with four choices.

    `dataset_v7w_telling.json` (in the authors' toolkit `dataset.json`) is an object whose `images`
    lists pictures: `filename, split, qa_pairs`, the last a list of `qa_id, question, answer, type`
    (what, where, when, who, why, how) and `multiple_choices`, three wrong answers. Pictures are
    `images/<filename>`. The choices of a question are these and the answer in alphabetical order,
    so that their order tells nothing. Questions of the pointing task have no answer in words.

    Source: Zhu et al. 2016, Visual7W: Grounded Question Answering in Images; the authors'
    visual7w-toolkit.
    """

    def __init__(self, data_root: str) -> None:
        """Raises DataError if the questions are not there."""
        self.root = data_folder("visual7w", data_root)
        self.file = need_file(self.root, TELLING, "Visual7W telling questions")

    def splits(self) -> list[str]:
        return list(SPLITS)

    def read(self, split: str) -> list[Example]:
        self.check_split(split)
        seen: set[str] = set()
        examples: list[Example] = []
        for number, picture in enumerate(json_records(self.file, "images"), start=1):
            where = f"'{self.file}', picture {number}"
            if field(picture, "split", str, where) != split:
                continue
            image = self.root / "images" / field(picture, "filename", str, where)
            for pair in field(picture, "qa_pairs", list, where):
                if not isinstance(pair, dict):
                    raise DataError(
                        f"{where}: {str(pair)[:40]!r} stands among 'qa_pairs', but objects were "
                        f"expected: {GET_AGAIN}."
                    )
                answer = field(pair, "answer", str, where).strip()
                wrong = listed(pair, "multiple_choices", where, 1)
                examples.append(
                    Example(
                        image,
                        intern(field(pair, "question", str, where)),
                        (intern(answer),),
                        unique(str(field(pair, "qa_id", ID, where)), seen, self.file),
                        question_type=intern(str(pair.get("type") or "")),
                        choices=tuple(sorted((answer, *wrong))),
                    )
                )
        if not examples:
            raise DataError(f"'{self.file}' has no questions of '{split}': {GET_AGAIN}.")
        return examples
