"""Where weights and small files come from, and how a published checkpoint is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class WeightsReference:
    """Where an encoder's pretrained weights come from, so that they need not be copied.

    Attributes:
        kind: `hub` (a Hugging Face repo), `file` (a local file or folder), `package` (a file in an
            installed Python package) or `url`.
        source: repo, path, package or URL.
        file: file name inside the source; empty when the source is the file.
        revision: 40-digit commit for `hub`, version for `package`, empty otherwise.
        sha256: of the weights file.
        license: SPDX identifier where known, else empty.
    """

    kind: str
    source: str
    file: str = ""
    revision: str = ""
    sha256: str = ""
    license: str = ""

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{self.kind}:{self.source}{at}{' ' + self.file if self.file else ''}"


@dataclass(frozen=True)
class FileReference:
    """A small file that an encoder reads beside its weights: a config, a vocabulary, a tokenizer.

    Attributes:
        kind, source, file, revision: as in `WeightsReference`; `file` is the path inside `source`.
        sha256: of the file.
    """

    kind: str
    source: str
    file: str
    revision: str = ""
    sha256: str = ""

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{self.file} of {self.kind}:{self.source}{at}"


@dataclass(frozen=True)
class LoadOptions:
    """How a family's published checkpoint is put into memory; see `vqazoo.load`.

    Attributes:
        dtype: `float32`, `float16` or `bfloat16`.
        device_map: as accelerate takes it, such as `auto`; None: one device.
        quantize: of the language model: `8bit`, `4bit`, or empty.
    """

    dtype: str = "float32"
    device_map: str | Mapping[str, Any] | None = None
    quantize: str = ""
