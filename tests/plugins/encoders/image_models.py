"""Tiny random image models of transformers, one line for each row of `IMAGE_TYPES`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
VIT = {**SMALL, "image_size": 32, "patch_size": 8}
STAGES = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1]}
SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "window_size": 4}
SWIN |= {"num_heads": [1, 2]}
PVT = {"image_size": 64, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
PVT |= {"num_attention_heads": [1, 1, 2, 2]}
# model_type: class that saves it, its config, and its output that is the picture's vector: that of
# the class itself, or `cls` or `mean` of its states, as its release's own classifier reads it;
# `none`: it has none.
IMAGE_MODELS: dict[str, tuple[str, dict[str, Any], str]] = {
    "aimv2": ("Aimv2Model", {"vision_config": {**VIT, "use_head": True}, "text_config": SMALL}, ""),
    "aimv2_vision_model": ("Aimv2VisionModel", {**VIT, "use_head": True}, ""),
    "altclip": ("AltCLIPModel", {"vision_config": VIT, "text_config": {**SMALL}}, ""),
    "beit": ("BeitModel", VIT, ""),
    "bit": ("BitModel", {"embedding_size": 8, **STAGES, "num_groups": 4}, ""),
    "chinese_clip": ("ChineseCLIPModel", {"vision_config": VIT, "text_config": SMALL}, ""),
    "clip": ("CLIPModel", {"vision_config": VIT, "text_config": SMALL}, ""),
    "clip_vision_model": ("CLIPVisionModel", VIT, ""),
    "convnext": ("ConvNextModel", STAGES, ""),
    "convnextv2": ("ConvNextV2Model", STAGES, ""),
    "data2vec-vision": ("Data2VecVisionModel", VIT, "none"),
    "deit": ("DeiTModel", VIT, ""),
    "dinov2": ("Dinov2Model", VIT, ""),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", {**VIT, "num_register_tokens": 3}, ""),
    "dinov3_convnext": ("DINOv3ConvNextModel", STAGES, ""),
    "dinov3_vit": ("DINOv3ViTModel", {**VIT, "num_register_tokens": 2}, ""),
    "focalnet": ("FocalNetModel", {"image_size": 32, "embed_dim": 8, "depths": [1, 1]}, ""),
    "hiera": ("HieraModel", {"image_size": [64, 64], "embed_dim": 16, "depths": [1, 1, 2, 1]}, ""),
    "ijepa": ("IJepaModel", VIT, "mean"),
    "levit": ("LevitModel", {"image_size": 64, "hidden_sizes": [16, 24, 32]}, ""),
    "metaclip_2": ("MetaClip2Model", {"vision_config": VIT, "text_config": SMALL}, ""),
    "mlcd": ("MLCDVisionModel", VIT, ""),
    "mlcd_vision_model": ("MLCDVisionModel", VIT, ""),
    "mobilenet_v1": ("MobileNetV1Model", {"image_size": 32, "depth_multiplier": 0.25}, ""),
    "mobilenet_v2": ("MobileNetV2Model", {"image_size": 32, "depth_multiplier": 0.35}, ""),
    "pixio": ("PixioModel", {**VIT, "n_cls_tokens": 2}, ""),
    "pvt": ("PvtModel", PVT, "cls"),
    "pvt_v2": ("PvtV2Model", PVT, "mean"),
    "radio": ("RadioModel", {**VIT, "max_img_size": 64, "num_registers": 2}, "summary"),
    "regnet": ("RegNetModel", {"embedding_size": 8, **STAGES, "groups_width": 4}, ""),
    "resnet": ("ResNetModel", {"embedding_size": 8, **STAGES}, ""),
    "siglip": ("SiglipModel", {"vision_config": VIT, "text_config": SMALL}, ""),
    "siglip_vision_model": ("SiglipVisionModel", VIT, ""),
    "siglip2": ("Siglip2Model", {"vision_config": VIT, "text_config": SMALL}, ""),
    "siglip2_vision_model": ("Siglip2VisionModel", {**VIT, "num_patches": 16}, ""),
    "swin": ("SwinModel", SWIN, ""),
    "swinv2": ("Swinv2Model", SWIN, ""),
    "tipsv2": ("Tipsv2Model", {"vision_config": VIT, "text_config": SMALL}, ""),
    "tipsv2_vision_model": ("Tipsv2VisionModel", {**VIT, "num_register_tokens": 1}, ""),
    "vit": ("ViTModel", VIT, ""),
    "vit_msn": ("ViTMSNModel", VIT, "cls"),
}
SIDES = {"hiera": 64, "levit": 64, "pvt": 64, "pvt_v2": 64}
PREPARED = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "resample": 3}


def save_image_model(folder: Path, model_type: str) -> Any:
    """Write a tiny model with its preprocessor into a folder; the model, in eval mode."""
    import transformers

    torch.manual_seed(0)
    kind, config, _ = IMAGE_MODELS[model_type]
    model_class = getattr(transformers, kind)
    model = model_class(model_class.config_class(**config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # some start as zeros, which would hide a mistake
            parameter.add_(0.02 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    side = SIDES.get(model_type, 32)
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": side}}
    processor["size"]["width"] = side
    if model_type.startswith("siglip2"):
        processor = {"image_processor_type": "Siglip2ImageProcessor", "patch_size": 8}
        processor |= {"max_num_patches": 12}
    if model_type.startswith("dinov3"):
        processor["image_processor_type"] = "DINOv3ViTImageProcessorFast"
    if model_type == "convnext":
        processor = {"image_processor_type": "ConvNextImageProcessor", "crop_pct": 0.875}
        processor |= {"size": {"shortest_edge": side}}
    if model_type == "levit":
        processor = {"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": side}}
        processor |= {"do_center_crop": True, "crop_size": {"height": side, "width": side}}
    (folder / "preprocessor_config.json").write_text(json.dumps({**PREPARED, **processor}))
    return model
