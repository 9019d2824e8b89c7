"""Manifests of readers of benchmarks of one domain. Imports only the core's torch-free modules."""

from vqazoo.manifests import Arg, DatasetManifest
from vqazoo_datasets.manifest import DATA_ROOT, FETCH

CHARTQA = DatasetManifest(
    summary="ChartQA: questions about charts, written by people or made from captions",
    build="vqazoo_datasets.chartqa:ChartQA",
    source="Masry et al. 2022, ChartQA",
    args={
        "data_root": DATA_ROOT,
        "part": Arg(
            str, "both", "questions of people, made ones", choices=("both", "human", "augmented")
        ),
    },
    splits=("train", "val", "test"),
    counts={"train": 28_299, "val": 1_920, "test": 2_500},
    license="GPL-3.0",
    example_question="which year has the highest bar?",
    language="en",
    metrics=("relaxed-accuracy",),
)
DOCVQA = DatasetManifest(
    summary="DocVQA: questions about pages of scanned documents, several right texts",
    build="vqazoo_datasets.docvqa:DocVQA",
    source="Mathew et al. 2021, DocVQA: A Dataset for VQA on Document Images",
    args={"data_root": DATA_ROOT},
    splits=("train", "val", "test"),
    counts={"train": 39_463, "val": 5_349, "test": 5_188},
    comparison="any-of",
    example_question="what is the date on the letter?",
    language="en",
    metrics=("anls",),
)
POPE = DatasetManifest(
    summary="POPE: is such an object in the picture? half of them are not; a test only",
    build="vqazoo_datasets.pope:POPE",
    source="Li et al. 2023, Evaluating Object Hallucination in Large Vision-Language Models",
    args={"data_root": DATA_ROOT},
    splits=("random", "popular", "adversarial"),
    prepare=FETCH,
    counts={"random": 3_000, "popular": 3_000, "adversarial": 3_000},
    license="MIT for the questions; COCO terms of use for the pictures",
    example_question="Is there a snowboard in the image?",
    language="en",
    metrics=("pope",),
)
CLEVR = DatasetManifest(
    summary="CLEVR: compositional questions about rendered objects (CC BY 4.0)",
    build="vqazoo_datasets.clevr:CLEVR",
    source="Johnson et al. 2017, CLEVR",
    args={"data_root": DATA_ROOT},
    splits=("train", "val", "test"),
    prepare=FETCH,
    counts={"train": 699_989, "val": 149_991, "test": 149_988},
    license="CC-BY-4.0",
    example_question="Are there more big green things than large purple shiny cubes?",
    shows_pictures=True,
    language="en",
)
SLAKE = DatasetManifest(
    summary="SLAKE: radiology pictures, questions in English and Chinese",
    build="vqazoo_datasets.slake:SLAKE",
    source="Liu et al. 2021, SLAKE",
    args={
        "data_root": DATA_ROOT,
        "language": Arg(str, "en", "of the questions", choices=("en", "zh", "both")),
    },
    splits=("train", "validate", "test"),
    counts={"train": 4_919, "validate": 1_053, "test": 1_061},
    other_counts={"train": 9_835, "validate": 2_099, "test": 2_094},  # in both languages
    example_question="What modality is used to take this image?",
)
PATHVQA = DatasetManifest(
    summary="PathVQA: pathology pictures of textbooks, half of the questions yes/no",
    build="vqazoo_datasets.pathvqa:PathVQA",
    source="He et al. 2020, PathVQA: 30000+ Questions for Medical Visual Question Answering",
    args={"data_root": DATA_ROOT},
    splits=("train", "val", "test"),
    counts={"train": 19_755, "val": 6_279, "test": 6_761},
    license="MIT for the questions; the pictures are those of the textbooks' publishers",
    example_question="what is present?",
    language="en",
)
VSR = DatasetManifest(
    summary="VSR: is the sentence about where things are true of the picture?",
    build="vqazoo_datasets.vsr:VSR",
    source="Liu et al. 2023, Visual Spatial Reasoning",
    args={
        "data_root": DATA_ROOT,
        "division": Arg(
            str, "random", "of pairs into splits, or of concepts", choices=("random", "zeroshot")
        ),
    },
    splits=("train", "dev", "test"),
    counts={"train": 7_680, "dev": 1_097, "test": 2_195},
    other_counts={"train": 4_713, "dev": 231, "test": 616},  # zeroshot
    comparison="yes-is-true",
    license="Apache-2.0 for the sentences; COCO terms of use for the pictures",
    example_question="The cat is behind the laptop.",
    language="en",
)
VQA_MED = DatasetManifest(
    summary="VQA-Med 2019: radiology pictures; modality, plane, organ and abnormality",
    build="vqazoo_datasets.vqa_med:VQAMed",
    source="Ben Abacha et al. 2019, VQA-Med: Overview of the task at ImageCLEF 2019",
    args={"data_root": DATA_ROOT},
    splits=("train", "val", "test"),
    counts={"train": 12_792, "val": 2_000, "test": 500},
    comparison="any-of",
    example_question="in what plane is this mri?",
    language="en",
)
NLVR2 = DatasetManifest(
    summary="NLVR2: is the sentence true of two photographs? shown side by side (CC BY 4.0)",
    build="vqazoo_datasets.nlvr2:NLVR2",
    source="Suhr et al. 2019, A Corpus for Reasoning about Language Grounded in Photographs",
    args={"data_root": DATA_ROOT},
    splits=("train", "dev", "test1", "test2"),
    counts={"train": 86_373, "dev": 6_982, "test1": 6_967},
    comparison="yes-is-true",
    license="CC-BY-4.0 for the sentences",
    example_question="All the bottles are from the same brand.",
    language="en",
)
