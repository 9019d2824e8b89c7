"""Tiny random vision-language models of transformers, saved with their processors as published."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

SIDE = 32  # of a picture, in pixels
CHAT = (
    "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<end>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
TEXT = {
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
}
SIZE = {"height": SIDE, "width": SIDE}


def tokenizer(extra=(), image="<image>", **given):
    """Bytes as tokens, with the special tokens that a processor looks for."""
    special = ["<pad>", "<bos>", "<end>", image, *extra]
    words = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    plain = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens(special)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<end>",
        extra_special_tokens=list(extra),
        **given,
    )


def llava(folder: Path):
    words = tokenizer()
    processor = transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size=SIZE, crop_size=SIZE),
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT.replace("IMAGE", "<image>"),
    )
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**VISION, projection_dim=16),
        text_config=transformers.LlamaConfig(**TEXT),
        image_token_index=3,
        image_token_id=3,
        vision_feature_layer=-1,
    )
    return save(transformers.LlavaForConditionalGeneration, config, processor, folder)


def idefics3(folder: Path):
    extra = ("<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    words = tokenizer(extra)
    processor = transformers.Idefics3Processor(
        transformers.Idefics3ImageProcessor(
            size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE}
        ),
        words,
        image_seq_len=4,
        chat_template=CHAT.replace("IMAGE", "<image>"),
    )
    config = transformers.Idefics3Config(
        image_token_id=words.convert_tokens_to_ids("<image>"),
        vision_config=VISION,
        text_config=transformers.LlamaConfig(**TEXT),
        scale_factor=2,
        pad_token_id=0,
    )
    return save(transformers.Idefics3ForConditionalGeneration, config, processor, folder)


def smolvlm(folder: Path):
    extra = ("<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<video>")
    words = tokenizer(extra)
    sizes = {"size": {"longest_edge": 2 * SIDE}, "max_image_size": {"longest_edge": SIDE}}
    processor = transformers.SmolVLMProcessor(
        transformers.SmolVLMImageProcessor(**sizes),
        words,
        transformers.SmolVLMVideoProcessor(**sizes),
        image_seq_len=4,
        chat_template=CHAT.replace("IMAGE", "<image>"),
    )
    config = transformers.SmolVLMConfig(
        image_token_id=words.convert_tokens_to_ids("<image>"),
        vision_config=VISION,
        text_config=transformers.LlamaConfig(**TEXT),
        scale_factor=2,
        pad_token_id=0,
    )
    return save(transformers.SmolVLMForConditionalGeneration, config, processor, folder)


def qwen2_vl(folder: Path):
    extra = ("<|vision_start|>", "<|vision_end|>", "<|video_pad|>")
    words = tokenizer(extra, "<|image_pad|>")
    number = words.convert_tokens_to_ids
    processor = transformers.Qwen2VLProcessor(
        transformers.Qwen2VLImageProcessor(
            patch_size=4, merge_size=2, min_pixels=16 * 16, max_pixels=SIDE * SIDE
        ),
        words,
        transformers.Qwen2VLVideoProcessor(patch_size=4, merge_size=2),
        chat_template=CHAT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    text = {k: v for k, v in TEXT.items() if k != "head_dim"}
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    config = transformers.Qwen2VLConfig(
        text_config={**text, "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "embed_dim": 16,
            "hidden_size": 16,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 4,
        },
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )
    return save(transformers.Qwen2VLForConditionalGeneration, config, processor, folder)


def paligemma(folder: Path):
    words = tokenizer()
    images = transformers.SiglipImageProcessor(size=SIZE)
    images.image_seq_length = 16
    processor = transformers.PaliGemmaProcessor(images, words)
    config = transformers.PaliGemmaConfig(
        vision_config=transformers.SiglipVisionConfig(**VISION, projection_dim=16),
        text_config=transformers.GemmaConfig(**{**TEXT, "vocab_size": 1500}),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        projection_dim=16,
    )
    return save(transformers.PaliGemmaForConditionalGeneration, config, processor, folder)


def florence2(folder: Path):
    words = tokenizer(model_specific_special_tokens={"image_token": "<image>"})
    images = transformers.CLIPImageProcessor(size=SIZE, crop_size=SIZE)
    images.image_seq_length = 2
    processor = transformers.Florence2Processor(images, words)
    config = transformers.Florence2Config(
        text_config=transformers.BartConfig(
            vocab_size=1500,
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=2,
            forced_eos_token_id=None,
            forced_bos_token_id=None,
        ),
        vision_config={
            "embed_dim": [8, 8, 16, 16],
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 2, 2],
            "num_groups": [1, 1, 2, 2],
            "window_size": 4,
            "projection_dim": 16,
        },
        image_token_id=words.convert_tokens_to_ids("<image>"),
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        is_encoder_decoder=True,
    )
    return save(transformers.Florence2ForConditionalGeneration, config, processor, folder)


def qwen(folder: Path, kind: str, vision: dict, **rope):
    """Qwen2.5-VL and Qwen3-VL, which share a processor layout with Qwen2-VL."""
    extra = ("<|vision_start|>", "<|vision_end|>", "<|video_pad|>")
    words = tokenizer(extra, "<|image_pad|>")
    number = words.convert_tokens_to_ids
    processor = getattr(transformers, f"{kind}Processor")(
        transformers.Qwen2VLImageProcessor(
            patch_size=4, merge_size=2, min_pixels=16 * 16, max_pixels=SIDE * SIDE
        ),
        words,
        transformers.Qwen2VLVideoProcessor(patch_size=4, merge_size=2),
        chat_template=CHAT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0, **rope}
    text = {k: v for k, v in TEXT.items() if k != "head_dim"}
    config = getattr(transformers, f"{kind}Config")(
        text_config={**text, "rope_parameters": rope, "head_dim": 8},
        vision_config={"depth": 2, "num_heads": 2, "patch_size": 4, **vision},
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )
    return save(getattr(transformers, f"{kind}ForConditionalGeneration"), config, processor, folder)


def qwen2_5_vl(folder: Path):
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "out_hidden_size": 16,
        "window_size": 16,
        "fullatt_block_indexes": [1],
    }
    return qwen(folder, "Qwen2_5_VL", vision)


def qwen3_vl(folder: Path):
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "out_hidden_size": 16,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    }
    return qwen(folder, "Qwen3VL", vision, mrope_interleaved=True)


def internvl(folder: Path):
    words = tokenizer(
        ("<img>", "</img>", "<video>"),
        "<IMG_CONTEXT>",
        model_specific_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )
    processor = transformers.InternVLProcessor(
        transformers.GotOcr2ImageProcessor(size=SIZE, crop_to_patches=True, max_patches=2),
        words,
        transformers.InternVLVideoProcessor(size=SIZE),
        image_seq_length=4,
        chat_template=CHAT.replace("IMAGE", "<IMG_CONTEXT>"),
    )
    config = transformers.InternVLConfig(
        vision_config={**VISION, "image_size": [SIDE, SIDE], "patch_size": [8, 8]},
        text_config=transformers.Qwen2Config(**TEXT),
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    return save(transformers.InternVLForConditionalGeneration, config, processor, folder)


def llava_onevision(folder: Path):
    words = tokenizer(("<video>",))
    processor = transformers.LlavaOnevisionProcessor(
        transformers.LlavaOnevisionImageProcessor(
            size=SIZE, image_grid_pinpoints=[[SIDE, 2 * SIDE], [2 * SIDE, SIDE]]
        ),
        words,
        transformers.LlavaOnevisionVideoProcessor(size=SIZE),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=CHAT.replace("IMAGE", "<image>"),
    )
    config = transformers.LlavaOnevisionConfig(
        vision_config=transformers.SiglipVisionConfig(**VISION),
        text_config=transformers.Qwen2Config(**TEXT),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        video_token_id=words.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=[[SIDE, 2 * SIDE], [2 * SIDE, SIDE]],
        vision_aspect_ratio="anyres_max_9",
    )
    return save(transformers.LlavaOnevisionForConditionalGeneration, config, processor, folder)


def save(kind, config, processor, folder):
    """A model with random weights, large enough that answers depend on everything."""
    torch.manual_seed(0)
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


MADE = {
    "llava": llava,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "qwen2_vl": qwen2_vl,
    "paligemma": paligemma,
    "florence2": florence2,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "internvl": internvl,
    "llava_onevision": llava_onevision,
}
