"""Readers of benchmarks: the layouts of their releases, and the published answers score 100%."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vqazoo
from vqazoo.data import DatasetReader, open_dataset
from vqazoo.data.answers import select_answer
from vqazoo.errors import DataError
from vqazoo.evaluation.score import score
from vqazoo.interfaces import Answer
from vqazoo.registry import registry
from vqazoo.testing import check_reader


def dump(file: Path, content: Any, lines: bool = False) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(map(json.dumps, content)) + "\n" if lines else json.dumps(content)
    file.write_text(text, encoding="utf-8")


def picture(file: Path, color: str = "red", size: tuple[int, int] = (16, 16)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(file)
    return file


# ---- one small release each, as its authors describe it ------------------------------------------


def chartqa(root: Path) -> None:
    for split in ("train", "val", "test"):
        folder = root / "ChartQA Dataset" / split
        picture(folder / "png" / "41699051005347.png")
        for part, label in (("human", "14"), ("augmented", "[3, 4]")):
            record = {"imgname": "41699051005347.png", "query": "How many bars?", "label": label}
            dump(folder / f"{split}_{part}.json", [record])


def docvqa(root: Path) -> None:
    for split in ("train", "val", "test"):
        picture(root / "spdocvqa_images" / "xnbl0037_1.png")
        record = {
            "questionId": 337,
            "question": "what is the date mentioned in this letter?",
            "image": "documents/xnbl0037_1.png",
            "docId": 279,
            "ucsf_document_id": "xnbl0037",
            "data_split": split,
        }
        if split != "test":
            record |= {"answers": ["1/8/93", "January 8"], "question_types": ["form", "layout"]}
        name = f"{split}_v1.0{'_withQT' if split != 'test' else ''}.json"
        dump(root / "spdocvqa_qas" / name, {"dataset_name": "SP-DocVQA", "data": [record]})


def pope(root: Path) -> None:
    picture(root / "val2014/COCO_val2014_000000310196.jpg")
    for setting in ("random", "popular", "adversarial"):
        records = [
            {
                "question_id": number,
                "image": "COCO_val2014_000000310196.jpg",
                "text": f"Is there a {thing} in the image?",
                "label": label,
            }
            for number, (thing, label) in enumerate((("snowboard", "yes"), ("dog", "no")), start=1)
        ]
        dump(root / f"output/coco/coco_pope_{setting}.json", records, lines=True)


def clevr(root: Path) -> None:
    for split in ("train", "val", "test"):
        name = f"CLEVR_{split}_000000.png"
        picture(root / "CLEVR_v1.0/images" / split / name)
        record = {
            "split": split,
            "image_index": 0,
            "image_filename": name,
            "question_index": 0,
            "question": "What material is the cube?",
        }
        if split != "test":
            program = [
                {"function": "scene", "inputs": [], "value_inputs": []},
                {"function": "query_material", "inputs": [0], "value_inputs": []},
            ]
            record |= {"answer": "rubber", "program": program, "question_family_index": 2}
        file = root / "CLEVR_v1.0/questions" / f"CLEVR_{split}_questions.json"
        dump(file, {"info": {"split": split}, "questions": [record]})


def slake(root: Path) -> None:
    picture(root / "Slake1.0/imgs/xmlab0/source.jpg")
    for split in ("train", "validate", "test"):
        record = {
            "img_id": 0,
            "img_name": "xmlab0/source.jpg",
            "question": "What modality is used to take this image?",
            "answer": "MRI",
            "q_lang": "en",
            "location": "Abdomen",
            "modality": "MRI",
            "answer_type": "OPEN",
            "base_type": "vqa",
            "content_type": "Modality",
            "triple": ["vhead", "_", "_"],
            "qid": 9,
        }
        chinese = {**record, "question": "这是什么?", "q_lang": "zh", "qid": 10}
        dump(root / f"Slake1.0/{split}.json", [record, chinese])


def pathvqa(root: Path) -> None:
    for split in ("train", "val", "test"):
        picture(root / "pvqa/images" / split / f"{split}_0261.jpg")
        records = [
            {
                "image": f"{split}_0261",
                "question": "What have lost their nuclei?",
                "answer": "cells",
            },
            {"image": f"{split}_0261", "question": "is there one?", "answer": "yes"},
        ]
        file = root / "pvqa/qas" / split / f"{split}_qa.pkl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(records))


def vsr(root: Path) -> None:
    for name in ("000000050403.jpg", "000000401552.jpg"):
        picture(root / "images" / name)
    for split in ("train", "dev", "test"):
        records = [
            {
                "image": "000000050403.jpg",
                "caption": "The teddy bear is in front of the person.",
                "label": 1,
                "relation": "in front of",
            },
            {
                "image": "000000401552.jpg",
                "caption": "The umbrella is far away from the motorcycle.",
                "label": 0,
                "relation": "far away from",
            },
        ]
        dump(root / "splits/random" / f"{split}.jsonl", records, lines=True)


def vqa_med(root: Path) -> None:
    train, val = "ImageClef-2019-VQA-Med-Training", "ImageClef-2019-VQA-Med-Validation"
    test = (
        "synpic54143|abnormality|what is wrong in this image?|oligodendroglioma#multi-cystic mass\n"
        "synpic35171|abnormality|what is it?|(angioinvasive aspergillosis with) septic emboli\n"
    )
    for folder, name, images, text in (
        (train, "All_QA_Pairs_train.txt", "Train_images", "synpic1|which plane?|axial\n"),
        (val, "All_QA_Pairs_val.txt", "Val_images", "synpic1|which plane?|axial\n"),
        (
            "VQAMed2019Test",
            "VQAMed2019_Test_Questions_w_Ref_Answers.txt",
            "VQAMed2019_Test_Images",
            test,
        ),
    ):
        for line in text.splitlines():
            picture(root / folder / images / f"{line.partition('|')[0]}.jpg")
        (root / folder / name).write_text(text)


def nlvr2(root: Path) -> None:
    for split in ("train", "dev", "test1"):
        inner = {"directory": 62} if split == "train" else {}
        records = [
            {
                "identifier": f"{split}-189-0-{number}",
                "sentence": f"All {number + 2} bottles are red.",
                "label": label,
                "left_url": "",
                "right_url": "",
                **inner,
            }
            for number, label in enumerate(("True", "False"))
        ]
        folder = root / "images" / split / ("62" if inner else "")
        picture(folder / f"{split}-189-0-img0.png", "red", (16, 16))
        picture(folder / f"{split}-189-0-img1.png", "blue", (16, 8))
        dump(root / f"data/{split}.json", records, lines=True)


RELEASES: dict[str, Callable[[Path], None]] = {
    "chartqa": chartqa,
    "docvqa": docvqa,
    "pope": pope,
    "clevr": clevr,
    "slake": slake,
    "pathvqa": pathvqa,
    "vsr": vsr,
    "vqa-med": vqa_med,
    "nlvr2": nlvr2,
}


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: tmp_path_factory.mktemp(name) for name in RELEASES}
    for name, root in made.items():
        RELEASES[name](root)
    return made


def opened(name: str, root: Path, **args: Any) -> DatasetReader:
    return open_dataset(name, registry.fill("dataset", name, {"data_root": str(root), **args}))


@pytest.mark.parametrize("name", RELEASES)
def test_a_reader_keeps_the_contract(name: str, roots: dict[str, Path]) -> None:
    check_reader(name, data_root=str(roots[name]))


@pytest.mark.parametrize("name", RELEASES)
def test_published_answers_score_everything_and_pictures_are_there(
    name: str, roots: dict[str, Path]
) -> None:
    reader = opened(name, roots[name])
    for split in reader.splits():
        examples = reader.read(split)
        assert all(picture.is_file() for e in examples for picture in e.images)
        if not examples[0].answers:
            continue
        answers = [Answer(select_answer(e.answers), 1.0) for e in examples]
        metrics = {m.name: m.value for m in score(examples, answers, name, split)}
        assert metrics["accuracy"] == 1.0, split


def test_what_a_release_says_beside_the_answer_is_kept(roots: dict[str, Path]) -> None:
    def first(name: str, split: str, **args: Any) -> Any:
        return opened(name, roots[name], **args).read(split)

    human, made = first("chartqa", "val")
    assert (human.question_type, made.question_type, made.answers) == (
        *("human", "augmented"),
        ("[3, 4]",),
    )
    assert [e.question_type for e in first("chartqa", "val", part="augmented")] == ["augmented"]
    (page,) = first("docvqa", "val")
    assert (page.answers, page.question_type) == (("1/8/93", "January 8"), "form, layout")
    assert first("docvqa", "test")[0].answers == ()
    assert [e.answers for e in first("pope", "adversarial")] == [("yes",), ("no",)]
    assert first("clevr", "val")[0].question_type == "query"
    assert (first("clevr", "test")[0].answers, first("clevr", "test")[0].question_id) == ((), "0")
    assert [e.question_id for e in first("slake", "test")] == ["9"]
    assert [e.question_id for e in first("slake", "test", language="both")] == ["9", "10"]
    assert [e.answer_type for e in first("pathvqa", "val")] == ["free-form", "yes/no"]
    assert [(e.answers, e.learnt) for e in first("vsr", "test")] == [
        (("true",), ("yes",)),
        (("false",), ("no",)),
    ]
    several, partly = first("vqa-med", "test")
    assert several.answers == ("oligodendroglioma", "multi-cystic mass")
    assert partly.answers == ("angioinvasive aspergillosis with septic emboli", "septic emboli")
    assert partly.question_type == "abnormality"


def test_two_pictures_are_seen_side_by_side_at_one_height(roots: dict[str, Path]) -> None:
    from vqazoo.media.images import open_image

    example = opened("nlvr2", roots["nlvr2"]).read("train")[0]
    left, right = example.images
    assert [open_image(left).size, open_image(right).size] == [(16, 16), (16, 8)]
    whole = open_image(example.image)
    assert whole.size == (16 + 32, 16)
    assert [whole.getpixel((x, 8)) for x in (2, 40)] == [(255, 0, 0), (0, 0, 255)]
    made, pair = example.image.__reduce__()  # as processes hand it over
    assert made(*pair) == example.image
    assert made(*pair).pictures == example.images


@pytest.mark.apart
def test_a_model_is_trained_on_pairs_of_pictures(roots: dict[str, Path], tmp_path: Path) -> None:
    data = {"type": "nlvr2", "args": {"data_root": str(roots["nlvr2"])}, "validation_split": "dev"}
    settings = ["training.epochs=1", "training.device='cpu'"]
    flags: dict[str, Any] = {"encoder": "tiny-clip", "head": "linear", "data": data}
    model = vqazoo.train(out=tmp_path / "run", set=settings, report=lambda line: None, **flags)
    scores = vqazoo.evaluate(
        model, opened("nlvr2", roots["nlvr2"]), split="test1", report=lambda line: None
    )
    assert {m.name for m in scores.metrics} >= {"accuracy"}


def test_a_pickle_runs_no_code(tmp_path: Path) -> None:
    pathvqa(tmp_path)
    file = tmp_path / "pvqa/qas/val/val_qa.pkl"
    file.write_bytes(b"cos\nsystem\n(S'touch gotcha'\ntR.")
    with pytest.raises(
        DataError, match="holds more than lists, objects, texts and numbers: GLOBAL"
    ):
        opened("pathvqa", tmp_path).read("val")
    assert not Path("gotcha").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_of_every_protocol_are_read(protocol: int) -> None:
    from vqazoo_datasets.pickled import plain_value

    value = [
        {"a": "é", "b": [1, -2, 3.5, 2**40, None, True]},
        {"a": "é", "c": {}},
        {"d": "x" * 300},
    ]
    assert plain_value(pickle.dumps(value, protocol)) == value
    with pytest.raises(ValueError, match=r"\w"):
        plain_value(pickle.dumps(value, protocol)[:-5])


@pytest.mark.parametrize(
    ("name", "file", "text", "told"),
    [
        ("pope", "output/coco/coco_pope_random.json", '{"label": "yes"}', "'image' is missing"),
        ("vsr", "splits/random/test.jsonl", "[1]", "line 1: this is '\\[1\\]'"),
        ("nlvr2", "data/dev.json", "", "is empty"),
        ("vqa-med", "VQAMed2019Test/VQAMed2019_Test_Questions_w_Ref_Answers.txt", "a|b", "line 1"),
        ("docvqa", "spdocvqa_qas/val_v1.0_withQT.json", "{}", "has no key 'data'"),
        ("chartqa", "ChartQA Dataset/val/val_human.json", "[{}]", "'imgname' is missing"),
        ("slake", "Slake1.0/test.json", "[]", "no questions in 'en'"),
    ],
)
def test_a_file_of_another_form_is_named(
    name: str, file: str, text: str, told: str, tmp_path: Path
) -> None:
    RELEASES[name](tmp_path)
    (tmp_path / file).write_text(text)
    reader = opened(name, tmp_path)
    with pytest.raises(DataError, match=told):
        [reader.read(split) for split in reader.splits()]


@pytest.mark.parametrize("name", RELEASES)
def test_an_empty_folder_says_which_files_are_looked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="was expected"):
        opened(name, tmp_path)


def test_gqa_takes_question_ids_and_predictions() -> None:
    from vqazoo.data import Example
    from vqazoo_datasets.submissions import gqa

    example = Example(Path("1.jpg"), "is it red?", (), "201307251")
    ((name, text),) = gqa([example], [Answer("yes", 0.5)]).items()
    assert name == "submission.json"
    assert json.loads(text) == [{"questionId": "201307251", "prediction": "yes"}]
    assert registry.manifest("dataset", "gqa").submission == "vqazoo_datasets.submissions:gqa"


def test_every_form_of_an_answer_to_a_test_question_of_vqa_med_is_right(tmp_path: Path) -> None:
    """Alternatives behind # are not people who disagree: the official accuracy takes each."""
    file = tmp_path / "VQAMed2019_Test_Questions_w_Ref_Answers.txt"
    file.write_text(
        "synpic1|abnormality|what is abnormal?|pulmonary embolism#pe#embolism (pulmonary)\n"
        "synpic2|plane|what plane?|axial#transverse#cross section\n"
    )
    examples = opened("vqa-med", tmp_path).read("test")
    scores = {
        given: {
            metric.name: metric.value
            for metric in score(
                examples,
                [Answer(given, 0.5), Answer("axial", 0.5)],
                "vqa-med",
                "test",
            )
        }
        for given in ("pulmonary embolism", "pe", "embolism", "embolus")
    }
    accuracy = [of["accuracy"] for of in scores.values()]
    assert accuracy == [1.0, 1.0, 1.0, 0.5]
    for by_words in ("squad-exact-match", "squad-f1", "bleu-1", "chrf"):  # 1 where each is right
        assert [of[by_words] for of in scores.values()][:3] == [1.0, 1.0, 1.0]
        assert scores["embolus"][by_words] < 1
    assert "vqa-accuracy" not in scores["pe"]
