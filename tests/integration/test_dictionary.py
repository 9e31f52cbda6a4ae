"""The real dictionary that CI installs, with the shipped encoder."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_clip.encoders import EncoderSpec, load_encoder
from coder_clip.texts.wordnet import WordNet, places, synonyms

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.skipif(
    not any(place.exists() for place in places()), reason="needs a dictionary (Debian: wordnet-base)"
)
def test_real_wordnet_gives_synonyms_of_real_classes() -> None:
    """A dictionary of another layout than the one the tests make up would find nothing."""
    encoder = load_encoder(EncoderSpec(f"local-dir:{ROOT / 'data/mini'}", device="cpu"))
    classes = ["basset_hound", "traffic light", "ladybug", "donut", "Sea or Lake"]
    found = synonyms(classes, encoder, WordNet())
    assert found.texts[0] == ["basset"]
    assert found.texts[1] == ["traffic signal", "stoplight"]
    assert "ladybird" in found.texts[2]
    assert "doughnut" in found.texts[3]
    assert found.without_sense == ["Sea or Lake"]
    assert found.dictionary["version"] == "3.0"
