"""Manifests of the verbs that learn from captions. Imports only the core's light modules."""

from vqazoo.manifests import CommandManifest

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
