"""Texts are cut where it changes nothing, encoded once each and reported where they are too long."""

from __future__ import annotations

import logging
from pathlib import Path

import open_clip
import pytest
import torch
from torch import nn

from coder_clip.encoders import open_clip_towers
from coder_clip.encoders.encoder import Encoder
from coder_clip.encoders.open_clip_features import can_cut, needed_lengths, text_features
from coder_clip.errors import UserError
from tiny import TEXTS, UNCUT, local, save_tiny

pytestmark = pytest.mark.usefixtures("no_network")

CAUSAL = {
    "clip": ({}, {}),
    "custom_text": ({}, {"custom_text": True}),
    "eos": ({"pool_type": "eos", "eos_id": 49407}, {"custom_text": True}),
    "eos_clip": ({"pool_type": "eos", "eos_id": 49407}, {}),
    "projection_with_bias": ({"proj_bias": True}, {"custom_text": True}),
    "no_projection": ({"proj_type": "none"}, {"custom_text": True}),
    "custom_blocks": ({"qk_norm": True, "scale_fc": True}, {"custom_text": True}),
}


@pytest.mark.parametrize("kind", CAUSAL)
def test_causal_towers_are_cut_exactly(tmp_path: Path, kind: str) -> None:
    text, changes = CAUSAL[kind]
    encoder = local(save_tiny(tmp_path, text, **changes))
    assert can_cut(encoder.towers.model) == "pooled"
    model = encoder.towers.model.double()
    tokens = encoder.towers.tokenize(TEXTS, 24)
    lengths = needed_lengths(model, tokens)
    assert lengths.tolist() == [int(row.argmax()) + 1 for row in tokens]
    with torch.inference_mode():
        full = model.encode_text(tokens)
        assert (text_features(model, tokens) - full).abs().max() < 1e-12
        assert (text_features(model, tokens[:, : lengths.max()]) - full).abs().max() < 1e-12
        for i, n in enumerate(lengths):
            assert (text_features(model, tokens[i : i + 1, :n]) - full[i]).abs().max() < 1e-12


@pytest.mark.parametrize("kind", UNCUT)
def test_towers_that_see_the_padding_are_not_cut(tmp_path: Path, kind: str) -> None:
    text, changes = UNCUT[kind]
    encoder = local(save_tiny(tmp_path, text, **changes))
    assert can_cut(encoder.towers.model) == "none"
    tokens = encoder.towers.tokenize(TEXTS, 24)
    assert needed_lengths(encoder.towers.model, tokens).tolist() == [24] * len(TEXTS)
    with torch.inference_mode():
        full = nn.functional.normalize(
            encoder.towers.model.encode_text(tokens, normalize=False), dim=1
        )
    torch.testing.assert_close(encoder.encode_texts(TEXTS), full, atol=1e-5, rtol=0)


def test_cutting_a_siglip_tower_would_be_wrong(tmp_path: Path) -> None:
    """The reason for the rule above: behind the last word such a tower still reads."""
    text, changes = UNCUT["siglip"]
    model = local(save_tiny(tmp_path, text, **changes)).towers.model
    tokens = open_clip.tokenize(["a dog"], context_length=24)
    with torch.inference_mode():
        shorter = torch.cat([tokens[:, :8], tokens[:, 8:16] * 0 + 5, tokens[:, 16:]], 1)
        assert (model.encode_text(tokens) - model.encode_text(shorter)).abs().max() > 1e-3


def test_an_unknown_tower_is_not_cut() -> None:
    assert can_cut(nn.Linear(2, 2)) == "none"


@pytest.mark.rest
def test_vit_b_32_text_tower(tmp_path: Path) -> None:
    """The real text tower's shape, thinned to two layers, against open_clip's own call."""
    cfg = open_clip.get_model_config("ViT-B-32")
    encoder = local(save_tiny(tmp_path, {**cfg["text_cfg"], "layers": 2}))
    tokens = encoder.towers.tokenize(TEXTS, 77)
    with torch.inference_mode():
        full = encoder.towers.model.encode_text(tokens, normalize=True)
    torch.testing.assert_close(encoder.encode_texts(TEXTS), full, atol=1e-5, rtol=0)


def test_texts_come_back_in_order_once_each(tiny: Encoder) -> None:
    report = tiny.encode_texts_report(TEXTS, batch_size=1)
    assert report.n_unique == 5
    assert report.over_length == []
    assert report.features.dtype == torch.float32
    torch.testing.assert_close(report.features.norm(dim=1), torch.ones(6))
    assert torch.equal(report.features[1], report.features[4])
    for i, text in enumerate(TEXTS):
        torch.testing.assert_close(
            tiny.encode_texts([text])[0], report.features[i], atol=1e-5, rtol=0
        )


def test_no_texts(tiny: Encoder) -> None:
    """A kind without texts would stop a run."""
    assert tiny.encode_texts([]).shape == (0, 16)


def test_each_different_text_is_encoded_once(
    tiny: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    real = open_clip_towers.text_features
    monkeypatch.setattr(
        open_clip_towers, "text_features", lambda m, t: seen.append(tuple(t.shape)) or real(m, t)
    )
    tiny.encode_texts(["a dog", "one two three four five six", "a dog", "a cat"] * 5)
    assert seen == [(3, 8)]
    seen.clear()
    tiny.encode_texts([f"{'word ' * n}" for n in range(1, 15)], batch_size=1)
    assert sum(rows for rows, _ in seen) == 14
    assert all(rows == 1 or rows * length <= 24 for rows, length in seen)
    assert [length for _, length in seen] == sorted(length for _, length in seen)


def test_texts_over_the_context_are_reported(
    tiny: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    fits, over = " ".join(["dog"] * 22), " ".join(["dog"] * 23)  # 24 tokens with start and end
    with caplog.at_level(logging.WARNING):
        report = tiny.encode_texts_report(["a", over, fits, over])
        assert caplog.text == "", "the caller has the report, and would warn a second time"
        tiny.encode_texts(["a", over, fits, over])
    assert report.over_length == [1, 3]
    assert "2 texts are over 24 tokens" in caplog.text
    torch.testing.assert_close(
        report.features[1], report.features[2], atol=1e-6, rtol=0
    )  # truncated


def test_a_text_without_a_finite_feature_is_named(tiny_dir: Path) -> None:
    encoder = local(tiny_dir)
    encoder.towers.model.text_projection.data.zero_()
    with pytest.raises(UserError, match="'a dog'"):
        encoder.encode_texts(["a dog"])


@pytest.mark.rest
def test_hugging_face_tower_is_cut_to_its_padding(lite: Encoder) -> None:
    assert can_cut(lite.towers.model) == "padding"
    tokens = lite.towers.tokenize(TEXTS, 77)
    lengths = needed_lengths(lite.towers.model, tokens)
    assert lengths.tolist() == [int((row != 0).sum()) for row in tokens]
    with torch.inference_mode():
        full = nn.functional.normalize(lite.towers.model.encode_text(tokens), dim=1)
    torch.testing.assert_close(lite.encode_texts(TEXTS), full, atol=1e-5, rtol=0)
    over = lite.encode_texts_report(["dog " * 75, "dog " * 76]).over_length
    assert over == [1]  # 75 words and two special tokens are 77
