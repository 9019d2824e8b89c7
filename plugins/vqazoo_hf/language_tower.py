"""The text tower around a language model: prompt, tokenizer, weights. Imports torch.

`LanguageTower(language_model, tokenizer, ...)` takes any HFLanguageModel, with random or loaded
weights; assign `tower.language_model` to swap it. `HFLMEncoder` makes both from a folder or a Hub
repository; the folder of a BLIP-2 model gives its language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vqazoo.errors import ConfigError, IncompatibleError, WeightsError
from vqazoo.interfaces import Encoder, EncoderSpec, Features, TextTowerSpec
from vqazoo.manifests import TOKENS
from vqazoo.toolkit.assigning import assign
from vqazoo.toolkit.read_files import read_files
from vqazoo.toolkit.rows import ids_and_mask
from vqazoo.toolkit.transformers import Repository, TextCodec, load_into, read_tokenizer
from vqazoo.toolkit.weights import read_tensors
from vqazoo_hf.language_model import AUTO, BOTH, DECODER, ENCODER, NESTED, HFLanguageModel
from vqazoo_hf.precision import in_single
from vqazoo_hf.text import as_packaged, minilm_folder, packaged_file

LONGEST = 512  # tokens of a question, where nothing says less
SLOT = "{}"
LAST = (
    "ln_f",
    "norm",
    "final_norm",
    "final_layer_norm",
    "final_layernorm",
    "layer_norm",
    "project_out",
)  # what follows the last layer, as transformers names it
CHAT_TEMPLATE = "chat_template.jinja"  # where it does not stand in tokenizer_config.json
WORD_START = "Ġ"  # how byte-level BPE spells a leading blank


class LanguageTower(Encoder):
    """A text tower around a language model; its `tokens` are the words of the question in a prompt.

    Args of the constructor:
        language_model: with random or loaded weights.
        tokenizer: of transformers.
        prompt: text with one `{}`, where the question stands.
        chat: put the prompt into a turn of the user, by the tokenizer's chat template.
        end: text of the one token that ends an answer; empty: the tokenizer's own.
    """

    def __init__(
        self,
        language_model: HFLanguageModel,
        tokenizer: Any,
        *,
        prompt: str,
        end: str,
        chat: bool = False,
    ) -> None:
        super().__init__()
        self.language_model = language_model
        limit = min(
            int(tokenizer.model_max_length), language_model.context_length or LONGEST, LONGEST
        )
        codec = PromptCodec(tokenizer, limit, prompt, language_model.kind == DECODER, chat)
        self.codec, self.start_id, self.end_id = codec, codec.start_id, codec.end_id
        if language_model.kind != ENCODER and tokenizer.eos_token_id is not None:
            self.end_id = int(tokenizer.eos_token_id)
        if end:
            spelled = tokenizer(end, add_special_tokens=False)["input_ids"]
            if len(spelled) != 1:
                raise ConfigError(
                    f"The end {end!r} is spelled with {len(spelled)} tokens, but one was expected: "
                    f"leave text_encoder.args.end empty for the tokenizer's own, or name a token."
                )
            self.end_id = int(spelled[0])
        if len(tokenizer) > language_model.vocab_size:
            raise IncompatibleError(
                f"The tokenizer knows {len(tokenizer)} tokens, but the language model has words "
                f"for {language_model.vocab_size}: use the tokenizer that it was trained with."
            )
        # what a prompt takes away is not left for the question
        longest = max(1, limit - max(0, codec.overhead - 2))
        tower = TextTowerSpec(None, language_model.dim, context_length=longest)
        self.spec = EncoderSpec(text=tower)

    def load_pretrained(self) -> None:
        """The weights are those the language model was given with."""

    def encode_text(self, ids: Tensor, mask: Tensor, wants: frozenset[str]) -> Features:
        if TOKENS not in wants:
            raise IncompatibleError(
                "A language model as text tower offers tokens only: choose a fusion that reads "
                "text tokens, such as prefix-mlp."
            )
        return Features(tokens=self.language_model.question(ids), mask=mask)  # (B, L, D)

    def lend(self, name: str) -> nn.Module:
        if name == "language_model":
            return self.language_model
        if name == "token_embedding":
            embedding: nn.Module = self.language_model.model.get_input_embeddings()
            return embedding
        raise IncompatibleError(
            f"This text tower lends no '{name}', only language_model and token_embedding."
        )

    def blocks(self, side: str) -> list[list[str]]:
        """The layers of the language model, an encoder's before a decoder's.

        With the last of each is its final norm, and at the end the output layer, unless that is
        the word embeddings.
        """
        language_model, model = self.language_model, self.language_model.model
        both = language_model.kind == BOTH
        all_blocks = []
        for stack in [model.get_encoder(), model.get_decoder()] if both else [model]:
            lists = {n: m for n, m in stack.named_modules() if isinstance(m, nn.ModuleList)}
            if side != "text" or not lists:
                return super().blocks(side)
            outermost = next(iter(lists))
            owner = stack.get_submodule(outermost.rpartition(".")[0])
            blocks = [[layer] for layer in lists[outermost]]
            blocks[-1] += [module for name, module in owner.named_children() if name in LAST]
            all_blocks += blocks
        output = model.get_output_embeddings() if language_model.kind != ENCODER else None
        if output is not None and output.weight is not model.get_input_embeddings().weight:
            all_blocks[-1].append(output)
        names = {module: f"{name}." for name, module in self.named_modules()}
        return [
            [names[m] for m in block if any(True for _ in m.parameters())] for block in all_blocks
        ]


class HFLMEncoder(LanguageTower):
    """The language model of a folder or a Hub repository, with its tokenizer; text tower only."""

    def __init__(
        self,
        variant: str | None,
        towers: frozenset[str],
        *,
        prompt: str,
        chat: bool,
        end: str,
        positions: str,
    ) -> None:
        assert variant is not None
        if "image" in towers:
            raise IncompatibleError(
                "The encoder 'hf-lm' has no image tower: add one, for instance "
                "--image-encoder efficientnet-lite0."
            )
        repository = Repository(variant)
        if chat:
            repository.fetch_more([CHAT_TEMPLATE])
        config = in_single(repository.config())
        with repository.building():
            model = HFLanguageModel.from_config(config, positions)
        super().__init__(model, read_tokenizer(repository), prompt=prompt, end=end, chat=chat)
        self._repository, self.files = repository, repository.files(towers)
        if chat:
            repo = "" if repository.is_local else repository.repo
            self.files += read_files(repository.folder, [CHAT_TEMPLATE], repo)
        self._prefix = NESTED.get(config.model_type, ("", ""))[1]

    def load_pretrained(self) -> None:
        self.reference = self._repository.weights()
        folder, lm = self._repository.folder, self.language_model
        if self._prefix:
            _load_nested(lm.model, folder, self._prefix)
        else:
            load_into(lm.model, folder, AUTO[lm.kind])


class MiniLMLanguageModel(HFLMEncoder):
    """The model all-MiniLM-L6-v2, read as a language model of the BERT family, D = 384."""

    def __init__(
        self, variant: str | None, towers: frozenset[str], *, prompt: str, positions: str
    ) -> None:
        folder = str(minilm_folder("The encoder 'minilm-lm'"))
        super().__init__(folder, towers, prompt=prompt, chat=False, end="", positions=positions)
        self.files = tuple(map(packaged_file, self.files))

    def load_pretrained(self) -> None:
        super().load_pretrained()
        assert self.reference is not None
        self.reference = as_packaged(self.reference)


class PromptCodec(TextCodec):
    """Questions are put into a prompt; a question that is too long loses its end, not the prompt's.

    Without a question, for a caption, nothing of the prompt is asked either.

    With `continues`, the pieces of an answer are those after the prompt, so that byte-level BPE
    spells its first word with a blank in front, as inside a sentence.

    With `chat`, a prompt is tokenised as transformers' `apply_chat_template` does: the template
    says which special tokens stand in it, and no other is added.

    Attributes:
        overhead: tokens of the prompt with an empty question.
    """

    def __init__(
        self, tokenizer: Any, limit: int, prompt: str, continues: bool, chat: bool
    ) -> None:
        if prompt.count(SLOT) != 1:
            raise ConfigError(
                f"The prompt {prompt!r} has {prompt.count(SLOT)} places {SLOT} for the question, "
                f"but one was expected: write for instance 'Question: {SLOT} Answer:'."
            )
        super().__init__(tokenizer, limit)
        self._special = not chat
        if chat:
            prompt = as_turn(tokenizer, prompt)
        self._prompt = prompt
        spelled = tokenizer.tokenize(" a")
        bpe = bool(spelled) and spelled[0].startswith(WORD_START)
        self._lead = " " if continues and bpe and not prompt.endswith((" ", "\n")) else ""
        self.overhead = len(self._ids(prompt.replace(SLOT, "")))

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        whole = [self._prompt.replace(SLOT, text) if text else "" for text in texts]
        ids, mask = self._padded(whole)  # (B, L)
        if ids.shape[1] < self.context_length:
            return ids, mask
        return self._padded([self._fitting(text) for text in texts])

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        return super().pieces([self._lead + text if text else "" for text in texts])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens, which a model may write, say nothing."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text.strip()

    def _fitting(self, question: str) -> str:
        """The prompt with as much of the question as there is room for; no question, no prompt."""
        if not question:
            return ""
        whole = self._prompt.replace(SLOT, question)
        kept = self._ids(question, special=False)
        room = min(len(kept), self.context_length - self.overhead)
        while len(self._ids(whole)) > self.context_length and room > 0:
            whole = self._prompt.replace(SLOT, self.decode(kept[:room]))
            room -= 1
        return whole

    def _padded(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids (B, L) int64 and mask (B, L) bool of whole prompts; without one, how texts begin."""
        if self._special:
            return super().tokenize(texts)
        rows = self.tokenizer(
            list(texts), add_special_tokens=False, truncation=True, max_length=self.context_length
        )["input_ids"]
        begin = self._ids("", special=True) or [self.end_id]
        return ids_and_mask([ids or begin for ids in rows], self.pad_id)

    def _ids(self, text: str, special: bool | None = None) -> list[int]:
        """All of them; `verbose` would warn that they are too many, which the caller sees to."""
        special = self._special if special is None else special
        spelled = self.tokenizer(text, add_special_tokens=special, verbose=False)
        ids: list[int] = spelled["input_ids"]
        return ids


def as_turn(tokenizer: Any, prompt: str) -> str:
    """A prompt with one `{}` as a turn of the user, and the start of the answer that follows.

    Raises:
        ConfigError: the tokenizer's files state no chat template, or one that leaves the prompt out
            or fails.
    """
    if not tokenizer.chat_template:
        raise ConfigError(
            f"The tokenizer of '{tokenizer.name_or_path}' states no chat template, which "
            f"text_encoder.args.chat=true needs: leave it false and write the words around the "
            f"question into text_encoder.args.prompt."
        )
    asked = [{"role": "user", "content": prompt}]
    try:
        turn: str = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program, and may raise whatever it wants
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"The chat template of '{tokenizer.name_or_path}' fails on one turn of the user "
            f"({reason}): set text_encoder.args.chat=false and write a prompt."
        ) from error
    if turn.count(SLOT) != 1:
        raise ConfigError(
            f"The chat template of '{tokenizer.name_or_path}' makes {turn[:80]!r} of the prompt, "
            f"in which {SLOT} stands {turn.count(SLOT)} times, but once was expected: set "
            f"text_encoder.args.chat=false and write a prompt."
        )
    return turn


def _load_nested(model: Any, folder: Path, prefix: str) -> None:
    """Fill a language model from the tensors of a larger model whose names begin with `prefix`."""
    tensors = {
        name.removeprefix(prefix): tensor
        for name, tensor in read_tensors(folder).items()
        if name.startswith(prefix)
    }
    state = model.state_dict()
    tied = {state[name].data_ptr() for name in tensors if name in state}
    lacking = [n for n, t in state.items() if n not in tensors and t.data_ptr() not in tied]
    strange = [n for n in tensors if n not in state or state[n].shape != tensors[n].shape]
    if lacking or strange:
        raise WeightsError(
            f"The weights in '{folder}' do not fill the language model (missing, left over or of "
            f"another shape: {', '.join([*lacking, *strange][:3])}): get them again."
        )
    names = {state[name].data_ptr(): name for name in tensors}
    assign(model, {name: tensors[names[tensor.data_ptr()]] for name, tensor in state.items()})
