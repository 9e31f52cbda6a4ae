"""The real dictionary that CI installs, with the shipped encoder."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_clip.encoders.encoder import EncoderSpec, load_encoder
from coder_clip.errors import UserError
from coder_clip.texts.sources.wordnet import WordNet, synonyms

ROOT = Path(__file__).parent.parent.parent


def test_real_wordnet_gives_synonyms_of_real_classes() -> None:
    """A dictionary of another layout than the one the tests make up would find nothing."""
    try:
        dictionary = WordNet()
    except UserError as error:  # it says how to get one
        pytest.skip(str(error))
    encoder = load_encoder(EncoderSpec(f"local-dir:{ROOT / 'data/mini'}", device="cpu"))
    classes = ["basset_hound", "traffic light", "ladybug", "donut", "Sea or Lake"]
    found = synonyms(classes, encoder, dictionary)
    assert found.texts[0] == ["basset"]
    assert found.texts[1] == ["traffic signal", "stoplight"]
    assert "ladybird" in found.texts[2]
    assert "doughnut" in found.texts[3]
    assert found.note["without_sense"] == ["Sea or Lake"]
    assert found.note["version"] == "3.0"
