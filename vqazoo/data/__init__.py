"""Questions about pictures: examples, the contract of dataset readers, answers and their rules."""

from vqazoo.data.counted import Counted
from vqazoo.data.examples import (
    MAX_QUESTION_CHARACTERS,
    DatasetReader,
    Example,
    check_question,
    digest,
    open_dataset,
    present,
    split_by_image,
    usable,
)
from vqazoo.data.ocr import OcrToken
from vqazoo.files.writing import write_list

__all__ = [
    "MAX_QUESTION_CHARACTERS",
    "Counted",
    "DatasetReader",
    "Example",
    "OcrToken",
    "check_question",
    "digest",
    "open_dataset",
    "present",
    "split_by_image",
    "usable",
    "write_list",
]
