"""The tables of a config, with every default. Imports the standard library."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Block:
    """One part: its registry name, its arguments, and the version of its behaviour (0: current)."""

    type: str
    args: dict[str, Any] = field(default_factory=dict)
    version: int = 0


@dataclass(frozen=True)
class ModelConfig:
    """The four parts of a model. Equal encoder blocks mean one encoder with both towers.

    `decode` holds decode options in place of the head's defaults, as a published checkpoint's
    generation_config.json says; see `VQAModel.decode_options`.
    """

    image_encoder: Block
    text_encoder: Block
    fusion: Block
    head: Block
    decode: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataConfig:
    """Where examples come from, and which answers the model knows."""

    type: str  # the dataset's name
    args: dict[str, Any] = field(default_factory=dict)  # its own, as `vqazoo info NAME` lists them
    train_split: str = "train"  # what is learnt from
    test_split: str = "test"  # what `eval` and `recipe run` score
    validation_split: str = ""  # empty: take validation_fraction of the training images
    validation_fraction: float = 0.05  # of the training images, questions about them included
    answers: str = ""  # file with one answer a line; empty: the training answers
    most_answers: int = 0  # keep this many of the most frequent answers; 0: all
    labels: str = ""  # file of a teacher's labels, learnt beside train_split; empty: none
    answer_rule: str = "most-frequent"  # which answers of a question are learnt: a rule by its name
    skip_missing: bool = False  # leave out questions whose picture is missing or damaged


@dataclass(frozen=True)
class StageConfig:
    """A stretch of epochs of its own; it starts from the best model of the stage before."""

    epochs: int  # passes over the training questions
    learning_rate: float = 0.0  # of fusion and head; 0: training.learning_rate
    encoder_learning_rate: float = 0.0  # 0: training.encoder_learning_rate, else learning_rate
    batch_size: int = 0  # 0: training.batch_size
    patience: int = 0  # 0: training.patience
    trainable: list[str] = field(default_factory=list)  # as training.trainable
    unfreeze_blocks: int = 0  # as training.unfreeze_blocks


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters in a frozen encoder (Hu et al. 2022); merged into it when saved."""

    rank: int = 0  # of each adapter; 0: no adapters
    alpha: float = 16.0  # the update is scaled by alpha / rank
    dropout: float = 0.0  # of what goes into the adapters
    targets: list[str] = field(default_factory=list)  # name endings; empty: every linear layer


@dataclass(frozen=True)
class TrainingConfig:
    """How the model learns. AdamW (Loshchilov & Hutter 2019) throughout."""

    epochs: int = 10  # passes over the training questions
    batch_size: int = 256  # questions of a batch, over all processes
    accumulate: int = 1  # batches whose gradients make one step of the optimiser
    learning_rate: float = 1e-3  # of fusion and head, at its highest
    encoder_learning_rate: float = 0.0  # of encoder parameters that train; 0: learning_rate
    weight_decay: float = 0.01  # of AdamW: pulls weights towards zero
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])  # of AdamW
    epsilon: float = 1e-8  # of AdamW
    schedule: str = "cosine"  # cosine to zero, constant, multi-step or plateau
    warmup_epochs: float = 0.0  # epochs in which the rate rises, in a line, counted in steps
    milestones: list[int] = field(default_factory=list)  # multi-step: epochs after which it falls
    factor: float = 0.1  # multi-step, plateau: the rate is multiplied by this
    plateau_patience: int = 2  # plateau: epochs without a better monitored value
    clip_norm: float = 1.0  # longest gradient, longer ones are cut; 0: none is
    clip_value: float = 0.0  # largest entry of a gradient; 0: any
    precision: str = "float32"  # float32, bf16 or fp16 (autocast, with a gradient scaler)
    average: float = 0.0  # decay of the moving average of weights that is kept; 0: none
    monitor: str = (
        "accuracy"  # validation value that chooses the best: accuracy, vqa-accuracy, loss
    )
    eval_steps: int = 0  # steps between validations within an epoch; 0: only at its end
    start: str = ""  # a model whose tensors are taken where they fit, as `vqazoo.load` names it
    patience: int = 0  # epochs without a better monitored value before a stage ends; 0: never
    trainable: list[str] = field(default_factory=list)  # encoder parameters: name prefixes, or "*"
    unfreeze_blocks: int = 0  # of each tower, the last blocks and what follows them
    stages: list[StageConfig] = field(default_factory=list)  # empty: one stage of `epochs`
    lora: LoraConfig = field(default_factory=LoraConfig)
    augment: str = "none"  # none, crop or rotate; training images only
    group_by_image: bool = False  # questions about one image share a batch
    features: str = "auto"  # auto: cached when the encoder is frozen and images are fixed; or live
    cache: str = ""  # folder of cached features; empty: features in the vqazoo cache folder
    loggers: list[str] = field(default_factory=list)  # tensorboard, trackio, wandb, codecarbon
    device: str = "auto"  # auto: cuda if there is one, else cpu


@dataclass(frozen=True)
class PublishedScore:
    """A score that a recipe's source reports, which the card sets beside ours."""

    metric: str  # our name of it, such as sentence-bleu-1
    value: float  # in percent, as the source states it
    split: str  # the questions that the source scored
    protocol: str = ""  # how the source scored, and what differs from our metric
    source: str = ""  # where it says so; empty: the recipe's source


@dataclass(frozen=True)
class OriginConfig:
    """What a recipe follows, for its readers and for the model card; it changes no result."""

    source: str = ""  # paper and section, or repository
    published: dict[str, str] = field(default_factory=dict)  # config key: what the source states
    ours: dict[str, str] = field(default_factory=dict)  # config key: why, where it states none
    deviations: list[str] = field(default_factory=list)  # what differs from the source, and why
    scores: list[PublishedScore] = field(default_factory=list)  # what the source reports


@dataclass(frozen=True)
class RunConfig:
    """Everything a training run needs; feeding a saved one back repeats the run."""

    image_encoder: Block
    text_encoder: Block
    fusion: Block
    head: Block
    data: DataConfig
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = 0
    name: str = ""  # of the model in the zoo: <encoder>-<head>-<dataset>[-<qualifier>]
    license: str = ""  # of the trained weights, as the Hub spells it; empty: not stated
    language: str = ""  # of questions and answers: en, or en,de; empty: the data set's own
    origin: OriginConfig = field(default_factory=OriginConfig)

    @property
    def model(self) -> ModelConfig:
        return ModelConfig(self.image_encoder, self.text_encoder, self.fusion, self.head)
