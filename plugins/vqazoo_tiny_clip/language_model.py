"""A small causal language model of rendered captions, questions and answers. Imports torch.

It never sees a picture. A row of training holds captions and answers that are all true of one
scene, so it learns how they are worded and also to repeat what was said of the scene before:
without that habit a frozen language model has no use for what a projector tells it of a picture.
What comes out is a transformers folder, read by the text encoder `hf-lm`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.card.facts import LOG
from vqazoo.files.tensors_bytes import safetensors_bytes
from vqazoo.files.writing import json_bytes, json_lines, write_file
from vqazoo.modes import evaluating
from vqazoo.toolkit.shares import Share
from vqazoo.training.engine import Engine
from vqazoo.training.run_folder import one_writer, writing
from vqazoo.training.step_run import StepRun
from vqazoo.training.stepping import Log, Plan, step_engine, take_steps, warmed_cosine
from vqazoo_tiny_clip.language_figures import measure
from vqazoo_tiny_clip.render import Scene, draw_scene, write_caption

FIGURES, MODEL = "figures.json", "model"  # in the folder of a run; the second is a folder
PAD, BEGIN, END = "<pad>", "<s>", "</s>"
DESCRIBE = "what is there?"  # how half of the captions are asked for
# One turn of a user and the start of the answer, as Vicuna is asked, which LLaVA is built on (Liu
# et al. 2023, Visual Instruction Tuning, section 4.2), without its first sentence.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}USER: {{ message['content'] }}"
    "{% else %} ASSISTANT: {{ message['content'] }}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
TEXTS = 20_000  # from which the vocabulary is learnt
VOCABULARY = 512  # at most; the texts need fewer
TOLD = 24  # texts that a row is filled from: the shortest, "a star", has 4 tokens
LONGEST = 256  # tokens that the model reads
BLOCK = 96  # tokens of a training row: texts about one scene, one after the other
DEVICE = "cpu"
WEIGHT_DECAY, BETAS, CLIP_NORM, WARMUP, LOG_EVERY = 0.1, (0.9, 0.95), 1.0, 50, 50


def pretrain(
    out: Path,
    steps: int,
    batch_size: int,
    learning_rate: float,
    dim: int,
    layers: int,
    heads: int,
    seed: int,
    report: Callable[[str], None],
    resume: bool = False,
    accumulate: int = 1,
    precision: str = "fp32",
    save_every: int = LOG_EVERY,
) -> dict[str, Any]:
    """Train from random weights; write OUT/model (transformers' layout), log and figures.

    Args:
        batch_size: rows of `BLOCK` tokens in a step.
        dim: width; layers and heads: of the Llama architecture (rotary places, so what was learnt
            holds behind a picture's tokens too).
        resume: go on with the run of the same options in `out`, from the step it saved last.

    Returns:
        The figures, see `language_figures.measure`. Of several processes only the first measures.

    Raises:
        TrainingError: the loss or a weight is not finite, or `out` holds another run.
        ConfigError: `heads` does not divide `dim` into an even width.
    """
    with one_writer(out), step_engine(DEVICE, precision, accumulate) as (engine, accumulate):
        if not engine.first:
            report = lambda line: None  # noqa: E731
        options = {
            "steps": steps,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "dim": dim,
            "layers": layers,
            "heads": heads,
            "seed": seed,
            "accumulate": accumulate,
            "precision": precision,
            "save_every": save_every,
        }
        run = StepRun(out, options, resume)
        run.know_data({})
        return _pretrain(run, options, engine, report)


def _pretrain(
    run: StepRun, options: Mapping[str, Any], engine: Engine, report: Callable[[str], None]
) -> dict[str, Any]:
    seed = options["seed"]
    tokenizer = train_tokenizer(seed)
    torch.manual_seed(seed)
    model = build(len(tokenizer), options["dim"], options["layers"], options["heads"])
    folder = run.out / MODEL
    if engine.first:
        with writing(run.out):
            folder.mkdir(parents=True, exist_ok=True)
            tokenizer.save_pretrained(folder, save_jinja_files=False)
            write_file(folder / "config.json", model.config.to_json_string(False).encode())
    count = sum(p.numel() for p in model.parameters())
    report(f"{count:,} parameters, {len(tokenizer)} pieces")

    plan = Plan(
        options["steps"],
        options["batch_size"],
        warmed_cosine(options["learning_rate"], WARMUP, options["steps"]),
        seed,
        options["save_every"],
        LOG_EVERY,
        BETAS,
        WEIGHT_DECAY,
        CLIP_NORM,
        options["accumulate"],
        run.out / LOG,
    )
    subject = RenderedTexts(
        model, tokenizer, plan, Share(engine.processes, engine.rank), run.out, engine.device
    )
    take_steps(subject, plan, run, engine, report)
    if not engine.first:
        return {}
    with evaluating(model):
        started = time.perf_counter()
        figures = measure(model, tokenizer, seed, DESCRIBE)
    figures["measuring_seconds"] = round(time.perf_counter() - started, 1)
    figures["training_seconds"] = round(run.seconds, 1)
    figures["parameters"], figures["options"] = count, dict(options)
    with writing(run.out):
        write_file(run.out / FIGURES, json_bytes(figures))
    return figures


def build(vocab_size: int, dim: int, layers: int, heads: int) -> Any:
    """A transformers Llama of this size with random weights; its output layer is the embeddings.

    Raises:
        ConfigError: `heads` does not divide `dim` into an even width, as rotary places need.
    """
    import transformers

    from vqazoo.errors import ConfigError

    if dim % (2 * heads):
        raise ConfigError(
            f"A width of {dim} does not divide into {heads} heads of an even width: set --dim to "
            f"a multiple of {2 * heads}."
        )
    config = transformers.LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=dim,
        intermediate_size=2 * dim,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=LONGEST,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        architectures=["LlamaForCausalLM"],
    )
    return transformers.LlamaForCausalLM(config)


class RenderedTexts:
    """A `StepSubject`: a language model, which learns from texts that are written for each batch.

    Every process writes all texts of a batch, and reads its share.
    """

    def __init__(
        self, model: Any, tokenizer: Any, plan: Plan, share: Share, out: Path, device: Any
    ) -> None:
        self.losses: nn.Module = _NextToken(model.to(device), share)
        self.owner: nn.Module = model
        self._model, self._tokenizer, self._out = model, tokenizer, out
        self._around = turn(tokenizer)
        self._count, self._rng = plan.batch_size, random.Random(plan.seed)
        self._device = device

    def kept(self) -> dict[str, Tensor]:
        return dict(self._model.named_parameters())  # each once: the output layer is the embeddings

    def counters(self) -> dict[str, Any]:
        return {"random": self._rng.getstate()}

    def go_on(self, counters: Mapping[str, Any]) -> None:
        version, words, spare = counters["random"]
        self._rng.setstate((version, tuple(words), spare))

    def batch(self) -> Tensor:
        """Ids (B, BLOCK) int64; a row is about one scene."""
        rows = []
        for _ in range(self._count):
            scene = draw_scene(self._rng)
            texts = "".join(write_text(self._rng, self._around, scene) for _ in range(TOLD))
            ids = self._tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
            rows.append(ids[:BLOCK])
        return torch.tensor(rows, device=self._device)

    def after_step(self) -> None:
        """Nothing follows."""

    def told(self) -> dict[str, float]:
        return {}

    def save(self, log: Log) -> None:
        tensors = {name: p.detach().cpu().contiguous() for name, p in self.kept().items()}
        with writing(self._out):
            weights = safetensors_bytes(tensors, metadata={"format": "pt"})
            write_file(self._out / MODEL / "model.safetensors", weights)
            write_file(self._out / LOG, json_lines(log))


class _NextToken(nn.Module):
    """What processes that train together run: the loss of a batch."""

    def __init__(self, model: Any, share: Share) -> None:
        super().__init__()
        self.model = model
        self._share = share

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        ids = batch[self._share.rows(len(batch))]  # (b, T)
        scores = self.model(input_ids=ids[:, :-1], use_cache=False).logits.float()  # (b, T-1, V)
        loss = F.cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
        return {"loss": loss / (len(batch) * (ids.shape[1] - 1))}


# ---- texts --------------------------------------------------------------------------------------


def turn(tokenizer: Any) -> tuple[str, str, str]:
    """What the chat template puts before a question, between it and its answer, and behind."""
    messages = [{"role": "user", "content": "{q}"}, {"role": "assistant", "content": "{a}"}]
    text: str = tokenizer.apply_chat_template(messages, tokenize=False)
    before, _, rest = text.partition("{q}")
    between, _, behind = rest.partition("{a}")
    return before, between, behind


def write_text(rng: random.Random, around: tuple[str, str, str], scene: Scene) -> str:
    """A rendered question with its answer as a turn, or a caption: half of them asked for."""
    before, between, behind = around
    caption = write_caption(rng, scene)
    question, asked, answer = caption.partition("? ")
    if asked:
        return f"{before}{question}?{between}{answer}{behind}"
    if rng.random() < 0.5:
        return f"{before}{DESCRIBE}{between}{caption}{behind}"
    return f"{BEGIN}{caption}{END}"


def train_tokenizer(seed: int) -> Any:
    """Of transformers: byte-pair merges learnt on texts rendered from `seed`; every byte is one.

    A text starts with `<s>`, and `</s>` ends what the model writes. Its files state the template.
    """
    import transformers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = random.Random(f"vocabulary {seed}")
    texts = (
        write_text(rng, ("USER: ", " ASSISTANT: ", ""), draw_scene(rng))
        .removeprefix(BEGIN)
        .removesuffix(END)
        for _ in range(TEXTS)
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, tokenizer.token_to_id(BEGIN))]
    )
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        model_max_length=LONGEST,
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = CHAT_TEMPLATE
    return made
