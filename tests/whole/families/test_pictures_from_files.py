"""Both sides get a file: our model of a published folder answers as transformers' own does.

Its processor is the one that works with Pillow, whose pixels ours equal to the bit; the pictures
have the sizes at which a pixel of margin, or of a resize, once went the other way.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vqazoo
from tests.plugins.blip.tiny import blip
from tests.plugins.blip2.published import published as blip2
from tests.plugins.encoders.test_pictures import photograph
from tests.plugins.git.tiny import git
from tests.plugins.vilt.tiny import vilt

transformers = pytest.importorskip("transformers")

QUESTIONS = ("what is this", "is the red circle a shape ?", "no")
SIZES = [(337, 256), (256, 337), (51, 48), (59, 48), (48, 55), (97, 101)]
LONGEST = 8


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    return [
        photograph(folder / f"{number}.{('png', 'jpg')[number % 2]}", *SIZES[number % 6], number)
        for number in range(60)
    ]


def their_pixels(folder, file):
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    return torch.as_tensor(np.asarray(processor(str(file))["pixel_values"]))


@torch.no_grad()
def test_git_writes_the_same_about_sixty_photographs(tmp_path, files):
    folder = git(tmp_path / "git", image_size=48)
    model = vqazoo.load(f"dir:{folder}")
    model.text_encoder.codec.decode = lambda ids: " ".join(map(str, ids))
    published = transformers.GitForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for number, file in enumerate(files):
        question = QUESTIONS[number % 3]
        asked = [tokenizer.cls_token_id, *tokenizer(question, add_special_tokens=False).input_ids]
        written = published.generate(
            pixel_values=their_pixels(folder, file),
            input_ids=torch.tensor([asked]),
            max_new_tokens=LONGEST,
            do_sample=False,
            use_cache=False,
        )[0, len(asked) :].tolist()
        wanted = written[: written.index(3)] if 3 in written else written
        found = model.answer(str(file), question, max_tokens=LONGEST, strategy="greedy").text
        assert found == " ".join(map(str, wanted)), file


@torch.no_grad()
def test_states_of_blip_and_blip2_are_the_same(tmp_path, files):
    folders = {"blip": tmp_path / "blip", "blip2": tmp_path / "blip2"}
    published = {
        "blip": blip(folders["blip"], image_size=48).vision_model,
        "blip2": blip2(folders["blip2"], "opt", image_size=48)[0].vision_model,
    }
    for kind, folder in folders.items():
        encoder = vqazoo.load(f"dir:{folder}")
        for file in files[::5]:
            theirs = their_pixels(folder, file)
            assert torch.equal(encoder.transform(str(file)), theirs[0])
            wanted = published[kind](theirs).last_hidden_state
            found = encoder.image_encoder.encode_image(theirs, frozenset({"tokens"})).tokens
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_vilt_gives_the_same_scores(tmp_path, files):
    folder = vilt(tmp_path / "vilt")
    model = vqazoo.load(f"dir:{folder}")
    published = transformers.ViltForQuestionAnswering.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for number, file in enumerate(files[::3]):
        given = tokenizer(QUESTIONS[number % 3], return_tensors="pt")
        scores = published(pixel_values=their_pixels(folder, file), **given).logits.sigmoid()[0]
        answer = model.answer(str(file), QUESTIONS[number % 3])
        assert answer.text == model.answers.texts[int(scores.argmax())]
        assert answer.score == pytest.approx(float(scores.max()), abs=1e-5)
