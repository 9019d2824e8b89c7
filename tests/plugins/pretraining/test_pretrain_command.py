"""`vqazoo pretrain`: what it writes, what it tells, and that its checkpoints work."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import vqazoo
from tests.plugins.pretraining.conftest import CAPTIONS, pictures, tiny
from vqazoo.cli import run
from vqazoo.errors import CheckpointError
from vqazoo_pretraining import loop
from vqazoo_pretraining.models import load_pretraining

TINY = (
    "--dim",
    16,
    "--layers",
    2,
    "--heads",
    2,
    "--batch-size",
    16,
    "--set",
    "objectives.args.queue=64",
)


def pretrain(*arguments: object) -> int:
    return run(["pretrain", *map(str, arguments)])


@pytest.fixture(scope="module")
def done(shapes, tmp_path_factory):
    """A folder after 20 steps, and the line of each step."""
    out = tmp_path_factory.mktemp("blip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "LOG_EVERY", 1)
        code = pretrain(
            "--data",
            shapes,
            "--out",
            out,
            "--steps",
            20,
            "--validation-share",
            0.2,
            "--learning-rate",
            1e-2,
            *TINY,
            "--set",
            "objectives.args.queue=0",
        )
    assert code == 0
    return out


def test_the_losses_fall_and_everything_is_written(done):
    log = [json.loads(line) for line in (done / "log.jsonl").read_text().splitlines()]
    assert len(log) == 20
    for name in ("loss", "lm"):
        values = [line[name] for line in log]
        assert sum(values[-5:]) < 0.95 * sum(values[:5]), name
    assert log[0]["loss"] == pytest.approx(sum(log[0][n] for n in ("itc", "itm", "lm")), abs=1e-3)
    assert (done / "loss.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((done / "figures.json").read_text())
    assert figures["pairs"] == {"train": 96, "held_out": 24}
    assert figures["retrieval"]["re_ranked_of_each"] == 16
    written = [json.loads(line) for line in (done / "written.jsonl").read_text().splitlines()]
    assert len(written) == figures["captions"]["pictures"] == figures["retrieval"]["pairs"]
    assert 0 <= figures["captions"]["true"] <= 1


def test_the_checkpoints_answer_and_caption(done, picture):
    model = vqazoo.load(f"dir:{done / 'checkpoint'}")
    assert isinstance(model.answer(picture, "what is it?").text, str)
    assert (model.config.fusion.type, model.config.head.type) == ("med", "med-decoder")
    captioner = vqazoo.load(f"dir:{done / 'captioner'}")
    assert isinstance(captioner.caption(picture).text, str)
    kept = load_file(done / "objectives.safetensors")
    assert {name.partition(".")[0] for name in kept} == {
        "image_projection",
        "text_projection",
        "temperature",
        "match_output",
    }


def test_saved_copies_hold_what_was_shared(done):
    model = vqazoo.load(f"dir:{done / 'checkpoint'}").state_dict()
    captioner = vqazoo.load(f"dir:{done / 'captioner'}").state_dict()
    for part in ("inner", "outer", "cross.query", "outer_norm"):
        for kept in (model, captioner):
            name = f"layers.1.{part}.weight"
            assert torch.equal(kept[f"head.{name}"], model[f"fusion.{name}"])
    words = "embedding.words.weight"
    assert torch.equal(captioner[f"head.{words}"], model[f"towers.text.{words}"])
    assert torch.equal(model[f"head.{words}"], model[f"towers.text.{words}"])
    attention = "layers.0.attention.query.weight"
    assert not torch.equal(model[f"head.{attention}"], model[f"fusion.{attention}"])
    assert torch.equal(model[f"head.{attention}"], captioner[f"head.{attention}"])
    read = "layers.0.cross.key.weight"  # of the picture (256), of the question's states (16)
    assert captioner[f"head.{read}"].shape == (16, 256)
    assert torch.equal(captioner[f"head.{read}"], model[f"fusion.{read}"])
    assert model[f"head.{read}"].shape == (16, 16)


def test_saving_changes_nothing_of_the_training(tmp_path):
    subject = tiny().train()
    learning = [id(parameter) for parameter in subject.learning()]
    missing = subject.save(tmp_path)
    assert [id(parameter) for parameter in subject.learning()] == learning
    assert subject.model.text_encoder.embedding.dropout.training
    assert missing == [f"layers.{n}.cross.{k}.weight" for n in (0, 1) for k in ("key", "value")]


def test_a_folder_is_loaded_as_it_was_left(done, monkeypatch):
    first, again = (load_pretraining(done, 16, 0).eval() for _ in range(2))
    for part in (first, again):
        for name in ("similarity", "match"):
            found = getattr(part.objectives, name)(pictures(), CAPTIONS)
            torch.testing.assert_close(found, getattr(first.objectives, name)(pictures(), CAPTIONS))
    slow, online = first.objectives.slow[0], first.model.text_encoder.lend("text_embedding")
    assert torch.equal(slow[0].words.weight, online.words.weight)
    captioner = vqazoo.load(f"dir:{done / 'captioner'}")
    assert first.write(pictures()) == [
        ranked[0].text for ranked in captioner.head.predict(pictures())
    ]
    kept = load_file(done / "objectives.safetensors")
    assert torch.equal(first.objectives.match_output.weight, kept["match_output.weight"])


def test_objectives_of_another_shape_are_told(done, tmp_path):
    folder = Path(shutil.copytree(done, tmp_path / "done"))
    file = folder / "objectives.safetensors"
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
        tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
    tensors["match_output.weight"] = tensors["match_output.weight"][:, :-1].contiguous()
    save_file(tensors, file, metadata)
    with pytest.raises(CheckpointError, match="does not hold the tensors of this release"):
        load_pretraining(folder, 16, 0)


def test_a_run_repeats_with_its_seed(shapes, tmp_path):
    for name in "ab":
        assert pretrain("--data", shapes, "--out", tmp_path / name, "--steps", 3, *TINY) == 0
    a, b = (load_file(tmp_path / name / "checkpoint/model.safetensors") for name in "ab")
    assert a.keys() == b.keys()
    assert all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def test_the_q_former_is_pretrained_too(shapes, tmp_path, picture, capsys):
    code = pretrain(
        "--data",
        shapes,
        "--out",
        tmp_path,
        "--architecture",
        "q-former",
        "--steps",
        4,
        "--objective",
        "itc,lm",
        "--dim",
        16,
        "--layers",
        2,
        "--heads",
        2,
        "--batch-size",
        16,
        "--set",
        "fusion.args.queries=3",
        "--json",
    )
    assert code == 0, capsys.readouterr().err
    figures = json.loads(capsys.readouterr().out)
    assert set(figures["retrieval"]) == {"pairs", "by_similarity"}
    assert "captions" not in figures
    log = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert {"itc", "itg"} < set(log)
    assert isinstance(vqazoo.load(f"dir:{tmp_path / 'checkpoint'}").answer(picture, "a?").text, str)
    assert (
        run(
            [
                "capfilt",
                "--data",
                str(shapes),
                "--human",
                str(shapes),
                "--out",
                str(tmp_path / "x"),
                "--start",
                str(tmp_path),
                "--batch-size",
                "16",
            ]
        )
        == 1
    )
    assert "pretrained as q-former" in capsys.readouterr().err


def test_held_out_pictures_of_a_file_are_not_trained_on(shapes, tmp_path, capsys):
    lines = shapes.read_text().splitlines()
    held_out = shapes.with_name("held-out.jsonl")
    held_out.write_text("\n".join(lines[:30]) + "\n")
    assert (
        pretrain("--data", shapes, "--validation", held_out, "--out", tmp_path, "--steps", 1, *TINY)
        == 0
    )
    printed = capsys.readouterr().out
    assert re.search(r"^pairs\.train +90$", printed, re.MULTILINE)
    assert json.loads((tmp_path / "figures.json").read_text())["pairs"] == {
        "train": 90,
        "held_out": 30,
    }


def test_mistakes_are_told_in_one_sentence(shapes, tmp_path, capsys):
    def told(*arguments: object, data: object = shapes) -> str:
        assert pretrain("--data", data, "--out", tmp_path / "x", *arguments) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("Error: ")
        assert not (tmp_path / "x" / "checkpoint").exists()
        return error

    assert "Did you mean 'itm'" in told("--objective", "itc,imt")
    assert "No objective is named" in told("--objective", " , ")
    assert "do not exist" in told(data=tmp_path / "no.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    assert "has no captions" in told(data=tmp_path / "empty.jsonl")
    (tmp_path / "gone.jsonl").write_text('{"image": "gone.png", "caption": "a star"}\n' * 2)
    assert "1 distinct picture" in told(data=tmp_path / "gone.jsonl")
    two = '{"image": "gone.png", "caption": "a"}\n{"image": "also.png", "caption": "b"}\n'
    (tmp_path / "gone.jsonl").write_text(two)
    assert "2 of 2 rows name a picture" in told(data=tmp_path / "gone.jsonl")
    assert "set objectives.args.queue=" in told("--batch-size", 48)
    assert "lower --batch-size" in told("--batch-size", 128)
    assert "Did you mean 'queries'" in told(
        "--architecture", "q-former", "--set", "fusion.args.querys=3"
    )
    assert "pretrains 'med'" in told("--set", "fusion.type=concat")
    assert "can be set" in told("--set", "training.epochs=3")
    assert "cannot share" in told("--set", "head.args.layers=1", "--batch-size", 16)
    assert pretrain("--data", shapes, "--out", tmp_path, "--steps", 0) == 2


def test_a_run_that_is_interrupted_before_it_saved_anything_says_so(
    shapes, tmp_path, capsys, monkeypatch
):
    def stop(*given, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("vqazoo_pretraining.pretrain.fit", stop)
    assert pretrain("--data", shapes, "--out", tmp_path / "x", "--quiet", *TINY) == 130
    assert capsys.readouterr().err.strip().splitlines() == [
        "Interrupted: nothing was saved yet, so start again with the same command."
    ]


def test_a_loss_that_is_not_finite_stops_the_run(shapes, tmp_path, capsys):
    code = pretrain(
        "--data", shapes, "--out", tmp_path, "--steps", 30, "--learning-rate", 1e18, *TINY
    )
    assert code == 1
    assert "lower --learning-rate" in capsys.readouterr().err


def test_weights_that_the_last_step_breaks_are_not_saved(shapes, tmp_path, capsys, monkeypatch):
    """The loss of that step is finite: it was computed before."""
    real, steps = torch.optim.AdamW.step, []

    def breaking(self, *args, **kwargs):
        done = real(self, *args, **kwargs)
        steps.append(1)
        if len(steps) == 3:
            with torch.no_grad():
                self.param_groups[0]["params"][0].fill_(torch.nan)
        return done

    monkeypatch.setattr(torch.optim.AdamW, "step", breaking)
    out = tmp_path / "run"
    code = pretrain("--data", shapes, "--out", out, "--steps", 3, *TINY)
    assert code == 1
    assert "nan or infinite after step 3, which are not saved" in capsys.readouterr().err
    assert not list(out.glob("**/model.safetensors"))
