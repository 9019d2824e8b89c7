"""An encoder's repository may bring Python code; it is never run, and nobody is asked to run it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.plugins.encoders.tiny import hf_text, open_clip_configs, register_open_clip
from vqazoo.errors import WeightsError
from vqazoo.registry import registry

TEXT = frozenset({"text"})


def plant(folder: Path, trace: Path) -> None:
    """Put code into a folder that leaves a trace when it runs, and name it in its configs."""
    code = f"open({str(trace)!r}, 'w').write('ran')\n"
    (folder / "evil.py").write_text(code + "class Evil: pass\n")
    for name, key in (("config.json", "AutoConfig"), ("tokenizer_config.json", "AutoTokenizer")):
        file = folder / name
        config = json.loads(file.read_text()) if file.is_file() else {}
        config["auto_map"] = {key: "evil.Evil" if key == "AutoConfig" else ["evil.Evil", None]}
        if key == "AutoConfig":
            config["model_type"] = "evil"
        else:
            config["tokenizer_class"] = "Evil"
        file.write_text(json.dumps(config))


@pytest.fixture
def trace(tmp_path, monkeypatch) -> Path:
    """The file that planted code would write; a prompt would be answered with yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    return tmp_path / "trace"


def test_code_beside_a_transformers_model_is_not_run(tmp_path, trace):
    folder = hf_text(tmp_path / "bert", "bert")
    plant(folder, trace)
    with pytest.raises(WeightsError, match="transformers reads"):
        registry.build("encoder", f"hf-text:{folder}", str(folder), TEXT)
    assert not trace.exists()


def saved_open_clip(tmp_path: Path, changes: dict[str, object]) -> Path:
    import open_clip

    register_open_clip(tmp_path)
    folder = tmp_path / "saved"
    folder.mkdir()
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-vit").eval()
    tensors = {k: v.contiguous().clone() for k, v in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    config = open_clip_configs(tmp_path)["tiny-vit"]
    config["text_cfg"] = {**config["text_cfg"], **changes}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {}})
    )
    return folder


def test_an_open_clip_config_that_asks_to_trust_code_is_refused(tmp_path, trace):
    tokenizer = hf_text(tmp_path / "bert", "bert")
    plant(tokenizer, trace)
    folder = saved_open_clip(
        tmp_path,
        {"hf_tokenizer_name": str(tokenizer), "tokenizer_kwargs": {"trust_remote_code": True}},
    )
    name = f"local-dir:{folder}"
    with pytest.raises(WeightsError, match="asks to run code of its repository"):
        registry.build("encoder", f"open-clip:{name}", name, TEXT)
    assert not trace.exists()


def test_a_tokenizer_with_code_is_refused_although_no_config_asks_for_trust(tmp_path, trace):
    tokenizer = hf_text(tmp_path / "bert", "bert")
    plant(tokenizer, trace)
    folder = saved_open_clip(tmp_path, {"hf_tokenizer_name": str(tokenizer)})
    name = f"local-dir:{folder}"
    with pytest.raises(WeightsError, match="tokenizer of"):
        registry.build("encoder", f"open-clip:{name}", name, TEXT)
    assert not trace.exists()


def test_a_text_tower_with_code_is_refused(tmp_path, trace):
    tower = hf_text(tmp_path / "bert", "bert")
    plant(tower, trace)
    folder = saved_open_clip(tmp_path, {"hf_model_name": str(tower), "hf_proj_type": "mlp"})
    name = f"local-dir:{folder}"
    with pytest.raises(WeightsError, match="or that of its text tower, describes no model"):
        registry.build("encoder", f"open-clip:{name}", name, TEXT)
    assert not trace.exists()
