"""Steps of reasoning: each chooses words, reads the image for them, and writes what it read."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.interfaces import Features, FusedSpec, Fusion, TowerSpec, width
from vqazoo.manifests import POOLED, TOKENS
from vqazoo_fusions.cells import Convolution, aspect, cells
from vqazoo_fusions.pooled import scale


class MAC(Fusion):
    """A recurrent cell with a control c and a memory m, both (B, D), over `steps` steps.

    Input: words cw_s = W text_s, the image k through two convolutions of 3 x 3 with ELU, and the
    question q_i = W_i q of step i. Each step, its weights shared by all:

    - control: cq = W [c, q_i] (c1); softmax over words of W (cq * cw_s) (c2.1, c2.2); c = the mean
      of words by it (c2.3);
    - read: I_n = (W m) * (W k_n) (r1); I'_n = W [I_n, k_n] (r2); softmax over cells of
      W (c * I'_n) (r3.1, r3.2); r = the mean of k by it (r3.3);
    - write: m = W [r, m] (w1).

    Output: ELU(W [q, m]). The write unit's self-attention and memory gate, which the paper calls
    optional, are left out. Cells know their rows and columns in [-1, 1].

    Source: Hudson & Manning 2018, Compositional Attention Networks for Machine Reasoning,
    section 3.1 (input unit), 3.2.1 to 3.2.3 (control, read, write) and 3.3 (output unit).
    """

    def __init__(self, image: TowerSpec, text: TowerSpec, *, dim: int, steps: int) -> None:
        super().__init__()
        question = width(text, POOLED)
        self.scale = scale(text)
        self.aspect = aspect(image)
        self.words = nn.Linear(width(text, TOKENS), dim)
        self.look = nn.ModuleList(
            [Convolution(width(image, TOKENS) + 2, dim), Convolution(dim, dim)]
        )
        self.questions = nn.ModuleList(nn.Linear(question, dim) for _ in range(steps))
        self.control = ControlUnit(dim)
        self.read = ReadUnit(dim)
        self.write = nn.Linear(2 * dim, dim)  # (w1)
        self.first_control = nn.Parameter(torch.randn(dim))
        self.first_memory = nn.Parameter(torch.randn(dim))
        self.project = nn.Linear(question + dim, dim)
        self.out = FusedSpec(POOLED, dim)

    def forward(self, image: Features, text: Features) -> Features:
        q, memory, _ = self._reason(image, text)
        return Features(F.elu(self.project(torch.cat([q, memory], dim=1))))  # (B, D)

    def attention(self, image: Features, text: Features) -> Tensor:
        """Weights (B, N) over the image tokens, the mean over steps; 0 for prefix tokens."""
        assert image.tokens is not None
        weights = torch.stack(self._reason(image, text)[2]).mean(dim=0)  # (B, cells)
        return F.pad(weights, (image.tokens.shape[1] - weights.shape[1], 0))  # (B, N)

    def _reason(self, image: Features, text: Features) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The question (B, Dq), the last memory (B, D), and where each step read (B, N)."""
        assert text.pooled is not None
        assert text.tokens is not None
        assert text.mask is not None
        q = text.pooled * self.scale  # (B, Dq)
        words = self.words(text.tokens.masked_fill(~text.mask[:, :, None], 0))  # (B, L, D)
        seen = cells(image, self.aspect)
        shifts = seen.shifts()
        known = seen.placed(seen.tokens)  # (B, N, C+2)
        for convolve in self.look:
            known = F.elu(convolve(known, shifts))  # (B, N, D)
        control = self.first_control.expand(len(q), -1)  # (B, D)
        memory = self.first_memory.expand(len(q), -1)  # (B, D)
        steps = []
        for question in self.questions:
            control = self.control(control, question(q), words, text.mask)
            read, weights = self.read(memory, control, known, seen.mask)
            memory = self.write(torch.cat([read, memory], dim=1))  # (B, D)
            steps.append(weights)
        return q, memory, steps


class ControlUnit(nn.Module):
    """Which words this step is about; section 3.2.1."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.join = nn.Linear(2 * dim, dim)
        self.score = nn.Linear(dim, 1)

    def forward(self, control: Tensor, question: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """Control and question (B, D), words (B, L, D), mask (B, L) -> the next control (B, D)."""
        joined = self.join(torch.cat([control, question], dim=1))  # (B, D), (c1)
        score = self.score(joined[:, None] * words)[:, :, 0]  # (B, L), (c2.1)
        weights = score.masked_fill(~mask, -math.inf).softmax(dim=1)  # (B, L), (c2.2)
        return (weights[:, None] @ words)[:, 0]  # (B, D), (c2.3)


class ReadUnit(nn.Module):
    """What the image says about it; section 3.2.2."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project_memory = nn.Linear(dim, dim)
        self.project_image = nn.Linear(dim, dim)
        self.join = nn.Linear(2 * dim, dim)
        self.score = nn.Linear(dim, 1)

    def forward(
        self, memory: Tensor, control: Tensor, known: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Memory and control (B, D), the image (B, N, D), mask (B, N) -> (B, D), weights (B, N)."""
        met = self.project_memory(memory)[:, None] * self.project_image(known)  # (B, N, D), (r1)
        met = self.join(torch.cat([met, known], dim=2))  # (B, N, D), (r2)
        score = self.score(control[:, None] * met)[:, :, 0]  # (B, N), (r3.1)
        weights = score.masked_fill(~mask, -math.inf).softmax(dim=1)  # (B, N), (r3.2)
        return (weights[:, None] @ known)[:, 0], weights  # (r3.3)
