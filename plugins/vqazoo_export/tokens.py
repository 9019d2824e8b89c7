"""The tokenizer of a model as files and facts that need no vqazoo. Imports tokenizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Regex as Pattern
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from vqazoo.errors import ConfigError
from vqazoo.interfaces import Encoder
from vqazoo_export.runner.tokens import BytePairs

RUNNER = ("run.py", "asking.py", "pixels.py", "tokens.py")
# As pyproject.toml has them.
NEEDED = ("numpy>=1.26", "onnxruntime>=1.20", "pillow>=12.3")
TOKENIZERS = "tokenizers>=0.22.1"
PROBES = (
    "What colour is the cat's hat?",
    "is it 10:30, or 3.5 pm?!",
    "wo ist der Schlüßel",
    "これは何",
    "two  blanks\tand a tab",
    "emoji 🙂 and ½ a cake",
    "the",
    "a-b_c/d (e) [f] \"g\" don't I'M",
)
CLIP_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
NORMALISERS = {"NFC", "Lowercase", "Replace"}
LONG = 8000  # tokens that no question has, of which at most 2,000 characters are read
DEEPEST = 4  # objects within a codec that are looked through for its tokenizer


def exported_tokenizer(encoder: Encoder, name: str) -> tuple[bytes, dict[str, Any]]:
    """The content of tokenizer.json, and what manifest.json says of questions.

    `before` and `after` are ids around a question's own, `pad` fills shorter rows, and questions
    lose what is beyond `context_length` tokens; `package` is `tokenizers` where the runner needs
    it, empty where it encodes by itself.

    Raises:
        ConfigError: the encoder's tokenizer cannot be written as tokenizer.json.
    """
    tokenizer = _tokenizer_in(encoder.codec, 0)
    if tokenizer is None:
        raise ConfigError(
            f"The text encoder '{name}' cannot be exported: its tokenizer is none that can be "
            f"written as tokenizer.json; choose a model with another text encoder."
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    content = tokenizer.to_str(pretty=False)
    expected = encoder.pieces(PROBES)
    own = [tokenizer.encode(probe, add_special_tokens=False).ids for probe in PROBES]
    around = _surroundings(encoder) if own == expected else None
    if around is None or not _gives_rows(tokenizer, around, encoder):
        raise ConfigError(
            f"The text encoder '{name}' cannot be exported: its tokenizer.json would give other "
            f"tokens than it does itself, with what it puts around a question and cuts off a long "
            f"one; choose a model with another text encoder."
        )
    plain = _is_byte_pairs(json.loads(content))
    if plain:
        coder = BytePairs(content)
        plain = [coder.encode(probe) for probe in PROBES] == expected
    return content.encode(), {
        "file": "tokenizer.json",
        "package": "" if plain else "tokenizers",
        **around,
        "context_length": encoder.spec.context_length,
    }


def _surroundings(encoder: Encoder) -> dict[str, Any] | None:
    """What `tokenize` puts around a text and behind the shorter one of two; None: it does not put
    the text's own ids in between."""
    short, long = "the", "the the the the"
    ids, mask = encoder.tokenize([short, long])
    row = ids[0][mask[0]].tolist()
    (own,) = encoder.pieces([short])
    for at in range(len(row) - len(own), -1, -1):  # the last one: a prompt may have the word, too
        if row[at : at + len(own)] == own:
            pad = int(ids[0][~mask[0]][0])
            return {"before": row[:at], "after": row[at + len(own) :], "pad": pad}
    return None


def _gives_rows(tokenizer: Tokenizer, around: dict[str, Any], encoder: Encoder) -> bool:
    """Whether the runner's ids of whole questions are those of `tokenize`, as is not so where a
    prompt grows together with the question, or a long question loses its start."""
    before, after = around["before"], around["after"]
    kept = (longest := encoder.spec.context_length) - len(before) - len(after)
    long = [" ".join(PROBES) * (1 + longest // 50)] if longest < LONG else []  # over 50 tokens
    for probe in (*PROBES, *long):
        ids, mask = encoder.tokenize([probe])
        own = tokenizer.encode(probe, add_special_tokens=False).ids[:kept]
        if [*before, *own, *after] != ids[mask].tolist():
            return False
    return True


def _tokenizer_in(codec: Any, depth: int) -> Tokenizer | None:
    """A fresh copy of the tokenizer that a codec holds, however deep; None: there is none."""
    if isinstance(codec, Tokenizer):
        return Tokenizer.from_str(codec.to_str())
    if hasattr(codec, "backend_tokenizer"):  # of transformers
        return Tokenizer.from_str(codec.backend_tokenizer.to_str())
    if hasattr(codec, "bpe_ranks") and hasattr(codec, "encoder"):  # open_clip's SimpleTokenizer
        return _of_clip(codec)
    if depth == DEEPEST or not hasattr(codec, "__dict__"):
        return None
    candidates = (_tokenizer_in(part, depth + 1) for part in vars(codec).values())
    return next((tokenizer for tokenizer in candidates if tokenizer is not None), None)


def _of_clip(simple: Any) -> Tokenizer:
    """CLIP's own tokenizer, without its repair of broken characters (ftfy) and of HTML."""
    merges = sorted(simple.bpe_ranks, key=simple.bpe_ranks.get)
    model = models.BPE(vocab=dict(simple.encoder), merges=merges, end_of_word_suffix="</w>")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Pattern(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Pattern(CLIP_PATTERN), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _is_byte_pairs(said: dict[str, Any]) -> bool:
    """Whether the runner's own encoder reads this tokenizer.json."""
    model, normaliser = said["model"], said["normalizer"]
    before = said["pre_tokenizer"] or {"type": ""}
    steps = before.get("pretokenizers", [before])
    parts = [] if normaliser is None else normaliser.get("normalizers", [normaliser])
    own = ("unk_token", "dropout", "byte_fallback", "ignore_merges", "continuing_subword_prefix")
    splits = [step.get("pattern", {}) for step in steps[:-1]]
    return (
        model["type"] == "BPE"
        and not any(model.get(name) for name in own if name != "unk_token")
        and {part["type"] for part in parts} <= NORMALISERS
        and steps[-1]["type"] == "ByteLevel"
        and len(steps) <= 2
        and all("Regex" in pattern for pattern in splits)
        and all(step.get("invert") for step in steps[:-1])
    )


def runner_files(tokenizers: bool) -> dict[str, bytes]:
    """The file run.py, what it imports and requirements.txt, by name.

    Args:
        tokenizers: whether the tokenizer needs that package.
    """
    folder = Path(__file__).parent / "runner"
    files = {name: (folder / name).read_bytes() for name in RUNNER}
    needed = [*NEEDED, *([TOKENIZERS] if tokenizers else [])]
    return {**files, "requirements.txt": "".join(f"{name}\n" for name in needed).encode()}
