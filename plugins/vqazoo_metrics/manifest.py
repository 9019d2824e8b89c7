"""Manifests of the metrics. Imports only the standard library."""

from vqazoo.manifests import Arg
from vqazoo.metrics import MetricManifest

QUESTIONS = Arg(str, "", "official file of questions, such as val_all_questions.json")

ANLS = MetricManifest(
    summary="similarity by edits to the nearest answer, 0 below one half: DocVQA, InfographicVQA",
    build="vqazoo_metrics.edits:ANLS",
    source="Biten et al. 2019, Scene Text Visual Question Answering, section 3.3; RRC's scorer",
    args={"threshold": Arg(float, 0.5, "similarity below which an answer scores 0", minimum=0)},
    signature="references:all|similarity:levenshtein|case:folded",
)
RELAXED_ACCURACY = MetricManifest(
    summary="numbers within 5% of the answer are right, other answers word for word: ChartQA",
    build="vqazoo_metrics.numbers:RelaxedAccuracy",
    source="Masry et al. 2022, ChartQA, section 5.1; pix2struct's relaxed_correctness",
    args={"tolerance": Arg(float, 0.05, "largest relative error", minimum=0)},
    signature="references:any|percent:divided by 100|years:as numbers",
)
A_OKVQA_DIRECT = MetricManifest(
    summary="min(1, n / 3) of the n people who gave the answer, only lower-cased: A-OKVQA, direct",
    build="vqazoo_metrics.a_okvqa:DirectAnswers",
    source="Schwenk et al. 2022, A-OKVQA, section 3; eval_predictions.py of its release",
    signature="references:all|rule:min(1, n/3)|people:none left out|case:lowered",
)
POPE = MetricManifest(
    summary="accuracy, precision, recall and F1 of yes, and how often it is said: POPE",
    build="vqazoo_metrics.pope:Pope",
    source="Li et al. 2023, Evaluating Object Hallucination, section 5.1; its evaluate.py",
    signature="positive:yes|answer:no where the first sentence says no or not",
    values={
        "pope-accuracy": "higher",
        "pope-precision": "higher",
        "pope-recall": "higher",
        "pope-f1": "higher",
        "pope-yes-share": "neither",
    },
)
GQA_CONSISTENCY = MetricManifest(
    summary="GQA: right answers to what follows from a question that was answered rightly",
    build="vqazoo_metrics.gqa:Consistency",
    source="Hudson & Manning 2019, GQA, section 4.4; its eval.py",
    args={"questions": QUESTIONS},
    signature="entailed:of right answers to balanced questions|answers:exact",
)
GQA_DISTRIBUTION = MetricManifest(
    summary="GQA: how far answers are spread otherwise than the true ones; chi-square, a hundredth",
    build="vqazoo_metrics.gqa:Distribution",
    source="Hudson & Manning 2019, GQA, section 4.4; its eval.py",
    args={"questions": QUESTIONS},
    signature="chi-square/100|groups:global|balanced questions",
    values={"": "lower"},
)
GQA_CHOICES = MetricManifest(
    summary="GQA: validity and plausibility, whether an answer is in a question's scope",
    build="vqazoo_metrics.gqa:Choices",
    source="Hudson & Manning 2019, GQA, section 4.4; its eval.py",
    args={
        "questions": QUESTIONS,
        "choices": Arg(str, "", "official file of choices, such as val_choices.json"),
    },
    signature="choices:official file|balanced questions",
    values={"gqa-validity": "higher", "gqa-plausibility": "higher"},
)
METEOR = MetricManifest(
    summary="METEOR of nltk: words in common, also by stem and by WordNet, and their order",
    build="vqazoo_metrics.captions:Meteor",
    source="Banerjee & Lavie 2005, METEOR; the package nltk, not version 1.5 in Java",
    signature="references:best of all|nltk|alpha:0.9|beta:3|gamma:0.5|wordnet:3.0|tokens:treebank",
)
ROUGE_L = MetricManifest(
    summary="ROUGE-L of rouge-score: F1 of the longest common row of words, best of all answers",
    build="vqazoo_metrics.captions:RougeL",
    source="Lin 2004, ROUGE, section 3; the package rouge-score",
    signature="references:best of all|rouge-score|f1|stemmer:no",
)
CIDER = MetricManifest(
    summary="CIDEr-D: weighted n-grams in common with all answers; 1 is what papers write as 100",
    build="vqazoo_metrics.captions:Cider",
    source="Vedantam et al. 2015, CIDEr, section 5; the scorer of COCO captions",
    signature="references:all|n:4|sigma:6|idf:of these answers|tokens:treebank",
)
