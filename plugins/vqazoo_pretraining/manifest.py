"""Manifests of the verbs that learn from captions. Imports only the core's light modules."""

from vqazoo.manifests import Arg, CommandManifest

PRETRAIN = CommandManifest(
    summary="Pretrain a model on pictures with captions.",
    build="vqazoo_pretraining.commands:pretrain",
    source="Li et al. 2022, BLIP, section 3.2; Li et al. 2023, BLIP-2, section 3.2",
)
CAPFILT = CommandManifest(
    summary="Clean noisy captions: write new ones, filter both.",
    build="vqazoo_pretraining.commands:capfilt",
    source="Li et al. 2022, BLIP, section 3.3",
)
BLIP_OBJECTIVES = ("itc", "itm", "lm")
OBJECTIVE_ARGS = {
    "dim": Arg(int, 256, "itc: width of the common space", minimum=1),
    "temperature": Arg(float, 0.07, "itc: at the start; it is learnt", minimum=0.001, maximum=0.5),
    "momentum": Arg(float, 0.995, "itc: of the slow copies", minimum=0, maximum=1),
    "queue": Arg(int, 4096, "itc: past pairs compared with; paper: 57,600", minimum=0),
    "alpha": Arg(float, 0.4, "itc: share of the soft targets", minimum=0, maximum=1),
    "hard_negatives": Arg(
        bool, True, "itm: false pairs drawn by their similarity; false: any are as likely"
    ),
    "label_smoothing": Arg(float, 0.1, "of lm", minimum=0, maximum=1),
    "max_tokens": Arg(int, 30, "longest caption, start and end included", minimum=3),
}
