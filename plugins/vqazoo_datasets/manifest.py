"""Manifests of the first-party dataset readers. Imports only the core's torch-free modules."""

from vqazoo.manifests import Arg, DatasetManifest

EASY_VQA = DatasetManifest(
    summary="easy-VQA: 48,248 questions about 5,000 rendered shapes, 13 answers (MIT)",
    build="vqazoo_datasets.easy_vqa:EasyVQA",
    source="Zhou, 'Easy Visual Question Answering', package easy-vqa 1.0 (2020)",
    splits=("train", "test"),
)
TABLE = DatasetManifest(
    summary="your own CSV, TSV or JSON-lines files: image, question, one or more answers",
    build="vqazoo_datasets.table:Table",
    source="your files",
    args={
        "train": Arg(str, "", "file of the split train"),
        "validation": Arg(str, "", "file of the split validation"),
        "test": Arg(str, "", "file of the split test"),
        "image_root": Arg(str, "", "folder of relative image paths; empty: the file's own folder"),
        "image_column": Arg(str, "image", "column with the path of the picture"),
        "question_column": Arg(str, "question", "column with the question"),
        "answer_column": Arg(str, "answer", "column with the answer; JSON lines may hold a list"),
        "id_column": Arg(str, "question_id", "column with a unique id; if absent, row numbers"),
        "answer_separator": Arg(str, "|", "between several answers in one cell of a CSV or TSV"),
    },
)
