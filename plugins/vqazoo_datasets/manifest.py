"""Manifests of the first-party dataset readers. Imports only the core's torch-free modules."""

from vqazoo.manifests import Arg, DatasetManifest


def label_columns(place: str) -> dict[str, Arg]:
    """Where people's own files say more of a row; `place` is what holds it: a column or a key."""
    said = {
        "answer_type": "with the type of the answer",
        "question_type": "with the type of the question",
        "answerable": "that says whether the picture can answer",
        "group": "with the part that a benchmark scores apart",
    }
    return {
        f"{name}_column": Arg(str, name, f"{place} {about}", before="")
        for name, about in said.items()
    }


EASY_VQA = DatasetManifest(
    summary="easy-VQA: 48,248 questions about 5,000 rendered shapes, 13 answers (MIT)",
    build="vqazoo_datasets.easy_vqa:EasyVQA",
    source="Zhou, 'Easy Visual Question Answering', package easy-vqa 1.0 (2020)",
    splits=("train", "test"),
    counts={"train": 38_575, "test": 9_673},
    license="MIT",
    example_question="what color is the shape?",
    shows_pictures=True,
    language="en",
)
TABLE = DatasetManifest(
    summary="your own CSV, TSV, JSON, Excel or parquet files: image, question, answers",
    build="vqazoo_datasets.table:Table",
    suffixes=(".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".xlsx", ".parquet"),
    paths=("train", "validation", "test", "image_root"),
    look="vqazoo_datasets.looking:look",
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
        "choices_column": Arg(str, "choices", "column with the answers to choose from; optional"),
        "answer_separator": Arg(str, "|", "between several answers in one cell of a CSV or TSV"),
        **label_columns("column"),
        "split_column": Arg(str, "split", "column that tells the splits of a file", before=""),
        "image_pattern": Arg(str, "", "names of pictures made of cells, such as {id:012d}.jpg"),
        "encoding": Arg(str, "", "of text, such as cp1252; empty: UTF-8 or UTF-16"),
        "web": Arg(bool, False, "whether pictures may be addresses of web servers"),
    },
)
FETCH = "vqazoo_datasets.archives:prepare"
DATA_ROOT = Arg(str, "", "folder of the official files")

VIZWIZ = DatasetManifest(
    summary="VizWiz-VQA: questions by blind people, ten answers, answerability (CC BY 4.0)",
    build="vqazoo_datasets.vizwiz:VizWiz",
    source="Gurari et al. 2018, VizWiz Grand Challenge; current and first release",
    args={"data_root": DATA_ROOT},
    splits=("train", "val", "test"),
    prepare=FETCH,
    counts={"train": 20_523, "val": 4_319, "test": 8_000},
    other_counts={"train": 20_000, "val": 3_173, "test": 8_000},  # in 2018
    submission="vqazoo_datasets.submissions:vizwiz",
    license="CC-BY-4.0",
    example_question="what is in this can?",
    shows_pictures=True,
    language="en",
)
VQAV2 = DatasetManifest(
    summary="VQA v2: ten answers to each question about COCO pictures (CC BY 4.0)",
    build="vqazoo_datasets.vqa:VQAv2",
    source="Goyal et al. 2017, Making the V in VQA Matter",
    args={
        "data_root": DATA_ROOT,
        "questions": Arg(str, "", "other name of the questions files, with {split} in it"),
        "annotations": Arg(str, "", "other name of the annotations files, with {split} in it"),
        "pictures": Arg(str, "train2014", "COCO subset of the pictures of files of other names"),
    },
    splits=("train", "val", "test-dev", "test"),
    prepare=FETCH,
    counts={"train": 443_757, "val": 214_354, "test-dev": 107_394, "test": 447_793},
    submission="vqazoo_datasets.submissions:vqa",
    license="CC-BY-4.0 for questions and answers; COCO terms of use for the pictures",
    hub_id="HuggingFaceM4/VQAv2",
    example_question="how many people are there?",
    language="en",
)
MINI_VQAV2 = DatasetManifest(
    summary="mini VQA v2: training questions with an answer of three or more words",
    build="vqazoo_datasets.mini_vqav2:MiniVQAv2",
    source="the CLIP+GPT-2 system (nikhilroxtomar/Generative-VQA-in-PyTorch)",
    args={"data_root": DATA_ROOT, "seed": Arg(int, 42, "of the split by image", minimum=0)},
    splits=("train", "val", "test"),
    prepare="vqazoo_datasets.mini_vqav2:prepare",
    license="CC-BY-4.0 for questions and answers; COCO terms of use for the pictures",
    example_question="what is the man doing?",
    language="en",
)
OKVQA = DatasetManifest(
    summary="OK-VQA: questions that need outside knowledge, COCO pictures",
    build="vqazoo_datasets.vqa:OKVQA",
    source="Marino et al. 2019, OK-VQA",
    args={"data_root": DATA_ROOT},
    splits=("train", "val"),
    prepare=FETCH,
    counts={"train": 9_009, "val": 5_046},
    comparison="okvqa-v1.1-stems",
    example_question="what sport is this?",
    language="en",
)
VQA_CP = DatasetManifest(
    summary="VQA-CP v2: VQA v2 split so that answers change from train to test",
    build="vqazoo_datasets.vqa:VQACPv2",
    source="Agrawal et al. 2018, Don't Just Assume; Look and Answer",
    args={"data_root": DATA_ROOT},
    splits=("train", "test"),
    example_question="is the umbrella open?",
    language="en",
)
COCOQA = DatasetManifest(
    summary="COCO-QA: one-word answers made from COCO captions, four question types",
    build="vqazoo_datasets.cocoqa:COCOQA",
    source="Ren et al. 2015, Exploring Models and Data for Image Question Answering",
    args={"data_root": DATA_ROOT},
    splits=("train", "test"),
    prepare=FETCH,
    counts={"train": 78_736, "test": 38_948},
    wups=True,
    license="CC-BY-4.0 for the COCO annotations; COCO terms of use for the pictures",
    example_question="what is the color of the bus?",
    language="en",
)
DAQUAR = DatasetManifest(
    summary="DAQUAR: indoor photographs, answers of one or several things (research use)",
    build="vqazoo_datasets.daquar:DAQUAR",
    source="Malinowski & Fritz 2014, A Multi-World Approach to Question Answering",
    args={"data_root": DATA_ROOT},
    splits=("train", "test"),
    prepare=FETCH,
    counts={"train": 6_795, "test": 5_673},
    comparison="set-of-things",
    wups=True,
    license="research use; pictures of NYU Depth v2",
    example_question="what is on the table?",
    language="en",
)
GQA = DatasetManifest(
    summary="GQA: compositional questions from scene graphs, balanced release",
    build="vqazoo_datasets.gqa:GQA",
    source="Hudson & Manning 2019, GQA",
    args={"data_root": DATA_ROOT},
    splits=(
        *("train", "val", "testdev", "test", "val-all", "testdev-all"),
        *("ood-val-all", "ood-val-head", "ood-val-tail"),
        *("ood-testdev-all", "ood-testdev-head", "ood-testdev-tail"),
    ),
    counts={"train": 943_000, "val": 132_062, "testdev": 12_578, "test": 1_340_048},
    prepare=FETCH,
    submission="vqazoo_datasets.submissions:gqa",
    example_question="is the ball to the left of the chair?",
    language="en",
)
TEXTVQA = DatasetManifest(
    summary="TextVQA: questions about text in pictures, ten answers (CC BY 4.0)",
    build="vqazoo_datasets.textvqa:TextVQA",
    source="Singh et al. 2019, Towards VQA Models That Can Read",
    args={"data_root": DATA_ROOT},
    splits=("train", "val", "test"),
    prepare=FETCH,
    counts={"train": 34_602, "val": 5_000, "test": 5_734},
    license="CC-BY-4.0",
    hub_id="facebook/textvqa",
    example_question="what does the sign say?",
    language="en",
)
A_OKVQA = DatasetManifest(
    summary="A-OKVQA: questions that need knowledge, four choices or ten free answers",
    build="vqazoo_datasets.a_okvqa:AOKVQA",
    source="Schwenk et al. 2022, A-OKVQA",
    args={
        "data_root": DATA_ROOT,
        "mode": Arg(
            str,
            "multiple-choice",
            "the release's two tasks",
            choices=("multiple-choice", "direct"),
        ),
    },
    splits=("train", "val", "test"),
    counts={"train": 17_056, "val": 1_145, "test": 6_702},
    metrics=("a-okvqa-direct",),
    license="Apache-2.0 for questions and answers; COCO terms of use for the pictures",
    example_question="what is in the motorcyclist's mouth?",
    language="en",
)
SCIENCEQA = DatasetManifest(
    summary="ScienceQA: school questions with two to five choices, those with a picture",
    build="vqazoo_datasets.scienceqa:ScienceQA",
    source="Lu et al. 2022, Learn to Explain",
    args={"data_root": DATA_ROOT},
    splits=("train", "val", "test"),
    counts={"train": 6_218, "val": 2_097, "test": 2_017},
    license="CC-BY-NC-SA-4.0",
    example_question="which of these states is farthest north?",
    language="en",
)
VISUAL7W = DatasetManifest(
    summary="Visual7W, telling: what, where, when, who, why, how; four choices",
    build="vqazoo_datasets.visual7w:Visual7W",
    source="Zhu et al. 2016, Visual7W: Grounded Question Answering in Images",
    args={"data_root": DATA_ROOT},
    splits=("train", "val", "test"),
    counts={"train": 69_817, "val": 28_020, "test": 42_031},
    license="MIT for questions and answers; COCO terms of use for the pictures",
    example_question="what is the man holding?",
    language="en",
)
VQA_RAD = DatasetManifest(
    summary="VQA-RAD: radiology pictures, questions by clinicians (CC0)",
    build="vqazoo_datasets.vqa_rad:VQARAD",
    source="Lau et al. 2018, A dataset of clinically generated visual questions",
    args={"data_root": DATA_ROOT},
    splits=("train", "test"),
    prepare=FETCH,
    counts={"train": 1_797, "test": 451},
    other_counts={"train": 3_064, "test": 451},  # as split by MedVQA
    license="CC0-1.0",
    example_question="is there a fracture?",
    language="en",
)
NLVR = DatasetManifest(
    summary="NLVR: is the sentence true of the drawing? as yes/no questions (CC BY 4.0)",
    build="vqazoo_datasets.nlvr:NLVR",
    source="Suhr et al. 2017, A Corpus of Natural Language for Visual Reasoning",
    args={"data_root": DATA_ROOT},
    splits=("train", "dev", "test", "hidden"),
    prepare=FETCH,
    counts={"train": 12_410, "dev": 989, "test": 990},
    comparison="yes-is-true",
    license="CC-BY-4.0",
    example_question="There is a box with two blue items.",
    shows_pictures=True,
    language="en",
)
SORT_OF_CLEVR = DatasetManifest(
    summary="Sort-of-CLEVR: 10 relational, 10 non-relational questions a drawing; made here",
    build="vqazoo_datasets.sort_of_clevr:SortOfCLEVR",
    source="Santoro et al. 2017, A simple neural network module for relational reasoning",
    args={
        "data_root": Arg(str, "", "folder to keep the drawings in"),
        "images": Arg(int, 10_000, "drawings in all; one in 50 is for testing", minimum=50),
        "seed": Arg(int, 0, "of drawings and questions", minimum=0),
    },
    splits=("train", "test"),
    license="MIT, drawn by this package",
    example_question="what is the shape of the red object?",
    shows_pictures=True,
    language="en",
)
HF = DatasetManifest(
    summary="hf:REPO[:CONFIG], a Hugging Face dataset, or hf:FOLDER of local parquet files",
    build="vqazoo_datasets.hf:HuggingFace",
    source="the package datasets, or your files",
    variant="repository, repository:config, or folder of parquet files",
    paths=("data_root", "image_root"),
    hub_variant=True,
    args={
        "image_column": Arg(str, "image", "column with the picture"),
        "question_column": Arg(str, "question", "column with the question"),
        "answer_column": Arg(str, "answers", "column with a text, a list of texts, or of objects"),
        "id_column": Arg(str, "question_id", "column with a unique id; if absent, row numbers"),
        "choices_column": Arg(str, "choices", "column with the answers to choose from; optional"),
        "data_root": Arg(str, "", "folder to unpack pictures into"),
        **label_columns("column"),
        "split_column": Arg(str, "", "column that tells the splits of each file; optional"),
        "image_pattern": Arg(str, "", "names of pictures made of cells, such as {id:012d}.jpg"),
        "image_root": Arg(str, "", "folder of pictures that are named; empty: the folder itself"),
    },
)
WEBDATASET = DatasetManifest(
    summary="webdataset:PATTERN, your tar files of pictures with questions, here or in a store",
    build="vqazoo_datasets.webdataset:WebDataset",
    source="your files",
    variant="tar file, or pattern of some such as train-{000..003}.tar",
    args={
        "question_column": Arg(str, "question", "key of the question in json"),
        "answer_column": Arg(str, "answers", "key of a text, a list of texts, or of objects"),
        "id_column": Arg(str, "question_id", "key of a unique id; if absent, the sample's name"),
        "choices_column": Arg(str, "choices", "key of the answers to choose from; optional"),
        **label_columns("key"),
    },
)
