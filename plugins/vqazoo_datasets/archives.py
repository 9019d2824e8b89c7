"""Table of the official archives of each data set, for `vqazoo data prepare`.

Addresses were taken from public repositories on 2026-11-21 and were not fetched by us, since
nothing can be downloaded where this was written. Checksums and sizes: VQA v2 from ParlAI
(parlai/tasks/vqa_v2/build.py), COCO from TensorFlow Datasets (url_checksums/coco.txt); where
neither tells, they are left empty, and the first download is recorded instead. Imports only the
standard library and the core.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vqazoo.errors import DataError
from vqazoo_datasets.download import Archive, BytesSoFar
from vqazoo_datasets.unpack import prepare as fetch_and_unpack

COCO_TERMS = "COCO terms of use; pictures from Flickr"
CC_BY = "CC BY 4.0"
COCO = "http://images.cocodataset.org/zips/"
VQA = "https://s3.amazonaws.com/cvmlp/vqa/mscoco/vqa/"
OKVQA = "https://okvqa.allenai.org/static/data/"
VIZWIZ = "https://vizwiz.cs.colorado.edu/VizWiz_final/"
GQA = "https://downloads.cs.stanford.edu/nlp/data/gqa/"
TEXTVQA = "https://dl.fbaipublicfiles.com/textvqa/"
DAQUAR = "http://datasets.d2.mpi-inf.mpg.de/mateusz14visual-turing/"
OSF = "https://files.osf.io/v1/resources/89kps/providers/osfstorage/"
CLEVR = "https://dl.fbaipublicfiles.com/clevr/CLEVR_v1.0.zip"
POPE_COMMIT = "e3e39262c85a6a83f26cf5094022a782cb0df58d"  # of github.com/AoiDragon/POPE
NLVR_COMMIT = "3afe9e57355ab49fb92a0dc231436e583d67d125"  # of github.com/lil-lab/nlvr

TRAIN2014 = Archive(
    COCO + "train2014.zip",
    "train2014.zip",
    13_510_573_713,
    "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
    what="COCO training pictures of 2014",
    license=COCO_TERMS,
)
VAL2014 = Archive(
    COCO + "val2014.zip",
    "val2014.zip",
    6_645_013_297,
    "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
    what="COCO validation pictures of 2014",
    license=COCO_TERMS,
)
TEST2015 = Archive(
    COCO + "test2015.zip",
    "test2015.zip",
    13_270_587_935,
    "1a2aa896b81140a850a78fa8bff07d455698d2abf364ff05721763458a8101ca",
    what="COCO test pictures of 2015",
    license=COCO_TERMS,
)


def _vqa(name: str, sha256: str, what: str) -> Archive:
    return Archive(VQA + name, name, sha256=sha256, what=what, license=CC_BY)


def _okvqa(name: str, what: str) -> Archive:
    return Archive(OKVQA + name, name, what=what)


def _vizwiz(path: str, what: str) -> Archive:
    return Archive(VIZWIZ + path, path.rpartition("/")[2], what=what, license=CC_BY)


def _textvqa(path: str, what: str, unpack: bool = True) -> Archive:
    name = path.rpartition("/")[2]
    return Archive(TEXTVQA + path, name, unpack=unpack, what=what, license=CC_BY)


def _daquar(name: str, what: str, into: str = "", top: str = "") -> Archive:
    unpack = name.endswith(".tar")
    return Archive(
        DAQUAR + name, name, into=into, unpack=unpack, what=what, license="research use", top=top
    )


def _pope(setting: str) -> Archive:
    name = f"coco_pope_{setting}.json"
    address = f"https://github.com/AoiDragon/POPE/raw/{POPE_COMMIT}/output/coco/{name}"
    return Archive(address, name, unpack=False, what=f"POPE questions ({setting})", license="MIT")


# Questions before pictures: a failure shows before many gigabytes are fetched.
ARCHIVES: dict[str, tuple[Archive, ...]] = {
    "vizwiz": (
        _vizwiz("vqa_data/Annotations.zip", "VizWiz-VQA annotations"),
        _vizwiz("images/val.zip", "VizWiz validation pictures"),
        _vizwiz("images/test.zip", "VizWiz test pictures"),
        _vizwiz("images/train.zip", "VizWiz training pictures"),
    ),
    "vqav2": (
        _vqa(
            "v2_Questions_Train_mscoco.zip",
            "05a64b6e2582d06d7585f5429674a9a33851878be1bff9f8668cdcf792df611e",
            "VQA v2 training questions",
        ),
        _vqa(
            "v2_Questions_Val_mscoco.zip",
            "e71f6c5c3e97a51d050f28243e262b28cd0c48d11a6b4632d769d30d3f93222a",
            "VQA v2 validation questions",
        ),
        _vqa(
            "v2_Questions_Test_mscoco.zip",
            "982e2e687a86514b78ea83af356d151976c5e3fb4168a29ca543610574082ad7",
            "VQA v2 test questions",
        ),
        _vqa(
            "v2_Annotations_Train_mscoco.zip",
            "fb101bcefe91422c543c2bb6d70af11eb3119d0ff745ae283d09acdf66250853",
            "VQA v2 training annotations",
        ),
        _vqa(
            "v2_Annotations_Val_mscoco.zip",
            "0caae7c8d1dafd852727f5ac046bc1efca9b72026bd6ffa34fc489f3a7b3291e",
            "VQA v2 validation annotations",
        ),
        TRAIN2014,
        VAL2014,
        TEST2015,
    ),
    "okvqa": (
        _okvqa("OpenEnded_mscoco_train2014_questions.json.zip", "OK-VQA training questions"),
        _okvqa("mscoco_train2014_annotations.json.zip", "OK-VQA training annotations"),
        _okvqa("OpenEnded_mscoco_val2014_questions.json.zip", "OK-VQA test questions"),
        _okvqa("mscoco_val2014_annotations.json.zip", "OK-VQA test annotations"),
        TRAIN2014,
        VAL2014,
    ),
    "cocoqa": (
        Archive(
            "http://www.cs.toronto.edu/~mren/imageqa/data/cocoqa/cocoqa-2015-05-17.zip",
            "cocoqa-2015-05-17.zip",
            what="COCO-QA questions and answers",
        ),
        TRAIN2014,
        VAL2014,
    ),
    "daquar": (
        _daquar("qa.894.raw.train.txt", "DAQUAR training pairs"),
        _daquar("qa.894.raw.test.txt", "DAQUAR test pairs"),
        _daquar("nyu_depth_images.tar", "NYU Depth v2 pictures", "images", "nyu_depth_images"),
    ),
    "gqa": (
        Archive(GQA + "questions1.2.zip", "questions1.2.zip", what="GQA questions"),
        Archive(GQA + "images.zip", "images.zip", what="GQA pictures"),
    ),
    "textvqa": (
        _textvqa("data/TextVQA_0.5.1_train.json", "TextVQA training questions", unpack=False),
        _textvqa("data/TextVQA_0.5.1_val.json", "TextVQA validation questions", unpack=False),
        _textvqa("data/TextVQA_0.5.1_test.json", "TextVQA test questions", unpack=False),
        _textvqa("data/TextVQA_Rosetta_OCR_v0.2_train.json", "words in training pictures", False),
        _textvqa("data/TextVQA_Rosetta_OCR_v0.2_val.json", "words in validation pictures", False),
        _textvqa("data/TextVQA_Rosetta_OCR_v0.2_test.json", "words in test pictures", False),
        _textvqa("images/train_val_images.zip", "TextVQA training and validation pictures"),
        _textvqa("images/test_images.zip", "TextVQA test pictures"),
    ),
    "vqa-rad": (
        Archive(
            "https://osf.io/download/6qdas/",
            "VQA_RAD Dataset Public.json",
            unpack=False,
            what="VQA-RAD questions and answers",
            license="CC0 1.0",
        ),
        Archive(  # OSF makes this zip anew for each download: its checksum cannot be known
            OSF + "5b21453986d8510011c277bc/?zip=",
            "VQA_RAD Image Folder.zip",
            into="VQA_RAD Image Folder",
            what="VQA-RAD pictures",
            license="CC0 1.0",
        ),
    ),
    "pope": (
        *(_pope(setting) for setting in ("random", "popular", "adversarial")),
        VAL2014,
    ),
    "clevr": (
        Archive(CLEVR, "CLEVR_v1.0.zip", what="CLEVR questions and pictures", license=CC_BY),
    ),
    "nlvr": (
        Archive(  # GitHub makes this zip of one commit, and may pack it differently later
            f"https://github.com/lil-lab/nlvr/archive/{NLVR_COMMIT}.zip",
            "nlvr.zip",
            what="NLVR sentences and drawings",
            license=CC_BY,
            top=f"nlvr-{NLVR_COMMIT}/nlvr",
        ),
    ),
}

# Where a person finds the files when an address fails, and what to place in the data root.
BY_HAND: dict[str, str] = {
    "vizwiz": "https://vizwiz.org/tasks-and-datasets/vqa/ : train.json, val.json and test.json, "
    "and the pictures in the folders train, val and test",
    "vqav2": "https://visualqa.org/download.html : the five v2_*.json files, and the COCO "
    "pictures in train2014, val2014 and test2015",
    "okvqa": "https://okvqa.allenai.org/download.html : the four *.json files, and the COCO "
    "pictures in train2014 and val2014",
    "cocoqa": "http://www.cs.toronto.edu/~mren/imageqa/data/cocoqa/ : the folders train and test "
    "with questions.txt, answers.txt, img_ids.txt and types.txt, and the COCO pictures in train2014"
    " and val2014; one list of data sets says that this page refuses visitors (403)",
    "daquar": "https://www.mpi-inf.mpg.de/departments/computer-vision-and-machine-learning/"
    "research/vision-and-language/visual-turing-challenge : qa.894.raw.train.txt and "
    "qa.894.raw.test.txt, and the pictures in images",
    "gqa": "https://cs.stanford.edu/people/dorarad/gqa/download.html : the "
    "*_balanced_questions.json files, and the pictures in images",
    "textvqa": "https://textvqa.org/dataset/ : the TextVQA_0.5.1_*.json files, for words to copy "
    "the TextVQA_Rosetta_OCR_v0.2_*.json files, and the pictures in train_images and test_images",
    "vqa-rad": "https://osf.io/89kps/ : VQA_RAD Dataset Public.json, and the pictures in VQA_RAD "
    "Image Folder",
    "pope": "https://github.com/AoiDragon/POPE : the three files of its folder output/coco, and "
    "the COCO pictures in val2014",
    "clevr": "https://cs.stanford.edu/people/jcjohns/clevr/ : CLEVR_v1.0.zip, unpacked",
    "nlvr": "https://github.com/lil-lab/nlvr : the folders train, dev, test and hidden of "
    "its folder nlvr",
}


def prepare(
    name: str, data_root: Path, report: Callable[[str], None], progress: BytesSoFar | None = None
) -> None:
    """Fetch, verify and unpack what a dataset needs; see `vqazoo_datasets.unpack.prepare`.

    Raises:
        DataError: it cannot be had; the message says where a person finds it.
    """
    try:
        fetch_and_unpack(ARCHIVES[name], data_root, report, progress)
    except DataError as error:
        raise DataError(f"{error} By hand: {BY_HAND[name]}.") from error
