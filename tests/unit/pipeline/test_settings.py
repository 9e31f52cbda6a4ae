from __future__ import annotations

import dataclasses

import pytest

from coder_clip.pipeline.config import Config
from coder_clip.protocols import FLAWS, REASONS, SETTINGS, Setting


def test_every_difference_has_a_reason() -> None:
    """A reader of the report could not learn why two columns differ."""
    fields = {f.name for f in dataclasses.fields(Setting)} - {"name"}
    assert fields == set(REASONS)
    every = [*SETTINGS.values(), *(f.setting for f in FLAWS.values())]
    for field in fields:
        assert len({getattr(s, field) for s in every}) >= 2, f"{field} separates no two settings"


def test_a_flaw_is_one_difference_to_clean_and_together_they_are_the_published_code() -> None:
    """What a bug is worth would be told with another bug's share in it, or a bug not at all."""
    clean = dataclasses.asdict(SETTINGS["clean"])
    changed: dict[str, set[object]] = {}
    for flaw in FLAWS.values():
        other = dataclasses.asdict(flaw.setting)
        (field,) = {k for k in clean if other[k] != clean[k]} - {"name"}
        changed.setdefault(field, set()).add(other[field])
    published = dataclasses.asdict(SETTINGS["as_published"])
    for field in {k for k in clean if published[k] != clean[k]} - {"name"}:
        assert published[field] in changed[field], f"nothing says what {field} is worth alone"


def test_settings_are_those_of_the_configuration() -> None:
    """A setting that the configuration accepts would not exist."""
    assert (
        list(SETTINGS)
        == Config.model_fields["settings"].default
        == ["as_published", "corrected", "clean"]
    )


def test_clean_chooses_nothing_on_test_data() -> None:
    clean = SETTINGS["clean"]
    assert (clean.rerank_threshold, clean.adapter_selection) == ("validation", "validation")
    assert clean.synonyms_reach_clip
    assert not clean.gate_reads_labels


def test_corrected_differs_from_clean_only_in_selection() -> None:
    corrected = dataclasses.asdict(SETTINGS["corrected"])
    differing = {k for k, v in dataclasses.asdict(SETTINGS["clean"]).items() if v != corrected[k]}
    assert differing == {"name", "rerank_threshold", "adapter_selection"}


def test_settings_cannot_be_changed_by_accident() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SETTINGS["clean"].gate_reads_labels = True  # type: ignore[misc]
