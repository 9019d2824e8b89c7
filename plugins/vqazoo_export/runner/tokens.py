"""Questions to token ids and what a model says to answers; needs numpy.

`BytePairs` reads the tokenizer.json of byte-level byte-pair encoders (GPT-2, CLIP and their kin) in
the standard library alone. Other tokenizers need the package `tokenizers`; manifest.json says so.
"""

import json
import re
import sys
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BLANK = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's White_Space
SHOWN = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes that stand for themselves
HIDDEN = [byte for byte in range(256) if byte not in SHOWN]
LETTER = {byte: chr(byte) for byte in SHOWN} | {b: chr(256 + n) for n, b in enumerate(HIDDEN)}
BYTE = {letter: byte for byte, letter in LETTER.items()}


class Text:
    """What the manifest of a folder says of questions and answers."""

    def __init__(self, folder: str | Path, manifest: dict[str, Any]) -> None:
        self.ids: Callable[[str], list[int]]
        self.text: Callable[[list[int]], str]
        self.how, self.head = manifest["tokenizer"], manifest["head"]
        content = (Path(folder) / self.how["file"]).read_text(encoding="utf-8")
        if self.how["package"]:
            from tokenizers import Tokenizer

            whole = Tokenizer.from_str(content)
            self.ids = lambda text: whole.encode(text, add_special_tokens=False).ids
            self.text = whole.decode
        else:
            coder = BytePairs(content)
            self.ids, self.text = coder.encode, coder.decode

    def encode(self, questions: list[str]) -> dict[str, Any]:
        """The ids (B, L) int64 and mask (B, L) bool of B questions, padded on the right."""
        before, after = self.how["before"], self.how["after"]
        kept = self.how["context_length"] - len(before) - len(after)
        own = [self.ids(question) for question in questions]
        for tokens in own:
            if len(tokens) > kept:
                print(
                    f"The question has {len(tokens)} tokens, but the text encoder reads at most "
                    f"{kept}: the rest is ignored.",
                    file=sys.stderr,
                )
        rows = [[*before, *tokens[:kept], *after] for tokens in own]
        longest = max(map(len, rows))
        ids = [row + [self.how["pad"]] * (longest - len(row)) for row in rows]
        mask = [[place < len(row) for place in range(longest)] for row in rows]
        return {"ids": np.array(ids, np.int64), "mask": np.array(mask)}

    def answer(self, outputs: dict[str, Any], row: int, top_k: int = 1) -> dict[str, Any]:
        """The answer of a row of the graphs' outputs, the next ones as its alternatives."""
        if self.head["kind"] == "write":
            tokens = outputs["tokens"][row].tolist()
            tokens = tokens[: [*tokens, self.head["end"]].index(self.head["end"])]
            words = self.head.get("words")
            text = (
                " ".join(words[token] for token in tokens) if words else self.text(tokens).strip()
            )
            text = self.head.get("respelled", {}).get(text, text)
            return {"answer": text, "score": float(outputs["scores"][row])}
        scores = outputs["scores"][row]
        best = (-scores).argsort(kind="stable")[:top_k].tolist()
        said = [{"answer": self.head["answers"][n], "score": float(scores[n])} for n in best]
        answer = said[0]
        if top_k > 1:
            answer["alternatives"] = said[1:]
        if "types" in self.head:
            answer["answer_type"] = self.head["types"][int(outputs["types"][row].argmax())]
        if "answerable" in outputs:
            answer["answerable"] = float(outputs["answerable"][row])
        return answer


class BytePairs:
    """Byte-level byte-pair encoding by the content of a tokenizer.json."""

    def __init__(self, content: str) -> None:
        said = json.loads(content)
        model, before = said["model"], said["pre_tokenizer"]
        self.vocabulary = model["vocab"]
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        self.rank = {tuple(pair): number for number, pair in enumerate(pairs)}
        self.suffix = model.get("end_of_word_suffix") or ""
        normaliser = said["normalizer"] or {"type": "Sequence", "normalizers": []}
        self.normalisers = normaliser.get("normalizers", [normaliser])
        steps = before.get("pretokenizers", [before])
        self.pattern = steps[0]["pattern"]["Regex"] if len(steps) > 1 else GPT2
        self.blank_first = steps[-1]["add_prefix_space"]
        self.special = {token["content"]: token["id"] for token in said["added_tokens"]}
        self.text = {number: piece for piece, number in self.vocabulary.items()}

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without start and end."""
        around = "|".join(map(re.escape, sorted(self.special, key=len, reverse=True)))
        ids: list[int] = []
        for part in re.split(f"({around})", text) if around else [text]:
            ids += [self.special[part]] if part in self.special else self._ids(part)
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of ids; start, end and padding say nothing."""
        said = "".join(
            self.text[number]
            for number in ids
            if number in self.text and self.text[number] not in self.special
        )
        letters = said.replace(self.suffix, " ") if self.suffix else said
        content = b"".join(
            bytes([BYTE[letter]]) if letter in BYTE else letter.encode() for letter in letters
        )
        return content.decode("utf-8", errors="replace").strip()

    def _ids(self, text: str) -> list[int]:
        for step in self.normalisers:
            if step["type"] == "NFC":
                text = unicodedata.normalize("NFC", text)
            elif step["type"] == "Lowercase":
                text = "".join(character.lower() for character in text)
            elif step["type"] == "Replace":
                text = re.sub(_blanks(step["pattern"]["Regex"]), step["content"], text)
        if not text:
            return []
        if self.blank_first and not text.startswith(" "):
            text = " " + text
        words = re.findall(self._pattern(text), text)
        return [self.vocabulary[piece] for word in words for piece in self._pieces(word)]

    def _pattern(self, text: str) -> str:
        """The pattern with the text's own letters and numbers, which `re` has no class for."""
        kinds = {character: unicodedata.category(character)[0] for character in text}
        pattern = _blanks(self.pattern)
        for kind, default in (("L", "a"), ("N", "0")):
            those = "".join(character for character in kinds if kinds[character] == kind)
            pattern = pattern.replace(rf"\p{{{kind}}}", default + those)
        return pattern

    def _pieces(self, word: str) -> list[str]:
        pieces = [LETTER[byte] for byte in word.encode()]
        pieces[-1] += self.suffix
        while len(pieces) > 1:
            pairs = list(pairwise(pieces))
            best = min(pairs, key=lambda pair: self.rank.get(pair, len(self.rank)))
            if best not in self.rank:
                break
            merged: list[str] = []
            place = 0
            while place < len(pieces):
                two = tuple(pieces[place : place + 2]) == best
                merged.append("".join(best) if two else pieces[place])
                place += 2 if two else 1
            pieces = merged
        return pieces


def _blanks(pattern: str) -> str:
    """Python's \\s has four control characters that Unicode does not count as blanks."""
    pattern = pattern.replace(r"[^\s", f"[^{BLANK}")
    return pattern.replace(r"\s", f"[{BLANK}]").replace(r"\S", f"[^{BLANK}]")
