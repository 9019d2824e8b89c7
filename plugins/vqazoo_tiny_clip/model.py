"""TinyCLIP: a small CLIP with open_clip's tensor names, in torch alone. Imports torch.

Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision":
section 2.4, the modified ResNet with attention pooling and the causal text transformer. A test
puts the same tensors into open_clip's own model and compares the outputs; importing open_clip
itself would take longer than loading and answering.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqazoo.interfaces import Preprocess

WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"  # file names
PREPROCESS = Preprocess(
    size=(64, 64),
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    mode="squash",
)


@dataclass(frozen=True)
class TinyCLIPConfig:
    """Sizes; the defaults are those of the packaged weights."""

    embed_dim: int = 192
    image_size: int = 64
    image_width: int = 16
    image_layers: tuple[int, int, int, int] = (1, 1, 1, 1)
    text_width: int = 128
    text_layers: int = 3
    head_width: int = 64
    context_length: int = 64
    vocab_size: int = 439


class TinyCLIP(nn.Module):
    """Both towers and the learnt temperature."""

    def __init__(self, config: TinyCLIPConfig) -> None:
        super().__init__()
        self.config = config
        width = config.text_width
        self.visual = ImageTower(config)
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, width))
        self.transformer = TextTransformer(config)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, config.embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=width**-0.5)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Vectors (B, D) of norm 1 of pictures (B, 3, H, W)."""
        return F.normalize(self.visual(pixels), dim=-1)

    def text_states(self, ids: Tensor) -> Tensor:
        """States (B, L, W) after the final LayerNorm of ids (B, L), causal from left to right."""
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]  # (B, L, W)
        return self.ln_final(self.transformer(x))  # (B, L, W)

    def pool_text(self, states: Tensor, mask: Tensor) -> Tensor:
        """Vectors (B, D) of norm 1 from the state of each row's last real token."""
        last = mask.sum(dim=1) - 1  # (B,)
        ends = states[torch.arange(len(states), device=states.device), last]  # (B, W)
        return F.normalize(ends @ self.text_projection, dim=-1)  # (B, D)


class TextTransformer(nn.Module):
    """Causal pre-norm transformer."""

    def __init__(self, config: TinyCLIPConfig) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(TextBlock(config) for _ in range(config.text_layers))

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, W) -> (B, L, W)."""
        for block in self.resblocks:
            x = block(x)
        return x


class TextBlock(nn.Module):
    """Self-attention, then an MLP of four times the width, both pre-norm and residual."""

    def __init__(self, config: TinyCLIPConfig) -> None:
        super().__init__()
        width, depth = config.text_width, config.text_layers
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // config.head_width, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        fc, proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(OrderedDict(c_fc=fc, gelu=nn.GELU(), c_proj=proj))
        nn.init.normal_(self.attn.in_proj_weight, std=width**-0.5)
        nn.init.normal_(self.attn.out_proj.weight, std=(2 * depth * width) ** -0.5)
        nn.init.normal_(fc.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(proj.weight, std=(2 * depth * width) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, W) -> (B, L, W); padding stands on the right, so a causal mask hides it."""
        (B, L, W), heads = x.shape, self.attn.num_heads
        qkv = F.linear(self.ln_1(x), self.attn.in_proj_weight, self.attn.in_proj_bias)  # (B, L, 3W)
        q, k, v = qkv.view(B, L, 3, heads, W // heads).permute(2, 0, 3, 1, 4)  # (B, heads, L, W/h)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, heads, L, W/h)
        x = x + self.attn.out_proj(mixed.transpose(1, 2).reshape(B, L, W))  # (B, L, W)
        return x + self.mlp(self.ln_2(x))  # (B, L, W)


class ImageTower(nn.Module):
    """CLIP's modified ResNet: three stem convolutions, average-pooled strides, attention pooling.

    With width w the stages have 4w, 8w, 16w and 32w channels at strides 4, 8, 16 and 32.
    """

    def __init__(self, config: TinyCLIPConfig) -> None:
        super().__init__()
        width = config.image_width
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)
        depths = config.image_layers
        self.layer1 = _stage(width, width, depths[0], stride=1)
        self.layer2 = _stage(4 * width, 2 * width, depths[1], stride=2)
        self.layer3 = _stage(8 * width, 4 * width, depths[2], stride=2)
        self.layer4 = _stage(16 * width, 8 * width, depths[3], stride=2)
        channels = 32 * width
        self.attnpool = AttentionPool(
            config.image_size // 32, channels, channels // config.head_width, config.embed_dim
        )

    def maps(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (B, 16w, H/16, W/16) of the third and (B, 32w, H/32, W/32) of the last stage."""
        x = F.relu(self.bn1(self.conv1(pixels)))  # (B, w/2, H/2, W/2)
        x = F.relu(self.bn2(self.conv2(x)))  # (B, w/2, H/2, W/2)
        x = self.avgpool(F.relu(self.bn3(self.conv3(x))))  # (B, w, H/4, W/4)
        x = self.layer2(self.layer1(x))  # (B, 8w, H/8, W/8)
        third = self.layer3(x)  # (B, 16w, H/16, W/16)
        return third, self.layer4(third)  # (B, 32w, H/32, W/32)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D), not normalised."""
        pooled: Tensor = self.attnpool(self.maps(pixels)[1])
        return pooled


def _stage(inputs: int, planes: int, depth: int, stride: int) -> nn.Sequential:
    """`depth` blocks; the first one takes the stride."""
    blocks = [Bottleneck(inputs, planes, stride)]
    blocks += [Bottleneck(4 * planes, planes) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions; a stride is an average pool, on both paths."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        outputs = planes * self.expansion
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                OrderedDict(
                    [
                        ("-1", nn.AvgPool2d(stride)),
                        ("0", nn.Conv2d(inputs, outputs, 1, bias=False)),
                        ("1", nn.BatchNorm2d(outputs)),
                    ]
                )
            )
        nn.init.zeros_(self.bn3.weight)  # a fresh block passes its input on

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4 planes, H/stride, W/stride)."""
        out = F.relu(self.bn1(self.conv1(x)))  # (B, planes, H, W)
        out = self.avgpool(F.relu(self.bn2(self.conv2(out))))  # (B, planes, H/stride, W/stride)
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x))


class AttentionPool(nn.Module):
    """The mean of a map asks, the map and its mean answer (CLIP section 2.4)."""

    def __init__(self, side: int, width: int, heads: int, embed_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(side**2 + 1, width) * width**-0.5)
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.c_proj = nn.Linear(width, embed_dim)
        for layer in (self.q_proj, self.k_proj, self.v_proj, self.c_proj):
            nn.init.normal_(layer.weight, std=width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D)."""
        x = x.flatten(2).transpose(1, 2)  # (B, HW, C)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)  # (B, HW+1, C)
        x = x + self.positional_embedding  # (B, HW+1, C)
        B, N, C = x.shape
        q = self.q_proj(x[:, :1]).view(B, 1, self.heads, C // self.heads).transpose(1, 2)
        k = self.k_proj(x).view(B, N, self.heads, C // self.heads).transpose(1, 2)
        v = self.v_proj(x).view(B, N, self.heads, C // self.heads).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, 1, C/heads)
        return self.c_proj(mixed.transpose(1, 2).reshape(B, C))  # (B, D)
