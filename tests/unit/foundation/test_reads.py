"""What a job reads is noted, whoever wrote the code that reads it; what it does not read moves
nothing.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_clip.foundation.reads import ABSENT, deciding, lookup, observed
from coder_clip.pipeline.config import Config

TWO: dict[str, Any] = {
    "datasets": {"shapes": {"views": 3}, "a.b": {"root": "photos"}},
    "models": {"m": {"model": "hf-hub:a/b"}, "n": {"model": "hf-hub:c/d"}},
}
OPERATION = {  # where files are and how the work is distributed: these keys change no result
    *("data_root", "only_present", "fetch", "results"),
    *("features.workers", "features.device", "features.cache", "features.shards"),
    *(
        "generator.base_url",
        "generator.key_variable",
        "generator.max_in_flight",
        "generator.timeout",
    ),
    *("generator.retries", "generator.prices", "generator.max_cost", "generator.headers"),
    "generator.answers",
}


def config(**changes: Any) -> Config:
    return Config.model_validate({**TWO, **changes})


def noted(look: Any, of: Config | None = None) -> dict[str, Any]:
    """What is noted while something looks at a configuration; a look later finds the same."""
    of, found = of or config(), dict[str, Any]()
    look(observed(of, found))
    assert {key: lookup(of, key) for key in found} == found
    return found


def test_a_value_that_is_read_is_noted_by_its_key() -> None:
    assert noted(lambda c: c.rerank.top_k) == {"rerank.top_k": 5}
    assert noted(lambda c: c.datasets["shapes"].views) == {"datasets.shapes.views": 3}
    assert noted(lambda c: c.datasets["a.b"].root) == {"datasets.a.b.root": "photos"}
    assert noted(lambda c: c.rerank) == {}, "a section alone says nothing"
    assert set(noted(lambda c: c.models["m"].model_dump())) == {
        f"models.m.{key}" for key in ("model", "pretrained", "precision", "quick_gelu")
    }


def test_the_names_of_a_table_are_a_value() -> None:
    names = {"datasets": ["shapes", "a.b"]}
    for look in (list, len, sorted, dict.fromkeys, lambda d: d.keys() <= {"x"}):
        assert noted(lambda c, look=look: look(c.datasets)) == names
    assert noted(lambda c: "shapes" in c.datasets) == {}
    assert noted(lambda c: "new" in c.datasets) == {"datasets.new": ABSENT}
    # a name that begins as another one
    assert noted(lambda c: "shapes2" in c.datasets) == {"datasets.shapes2": ABSENT}
    both = config(datasets={"a": {"root": "one"}, "a.b": {"root": "two"}})
    assert lookup(both, "datasets.a.b.root") == "two"
    with pytest.raises(KeyError):
        noted(lambda c: c.datasets["new"])


def test_an_optional_section_is_noted_as_there_or_not() -> None:
    """Else a job that asks only whether there is a language model would not run again for one."""
    assert noted(lambda c: bool(c.generator)) == {"generator": None}
    assert noted(lambda c: bool(c.generator), config(generator={"model": "x"})) == {
        "generator": True
    }
    with_one = config(generator={"model": "x", "extra": {"top_p": 1}})
    assert noted(lambda c: c.generator.parameters(1), with_one) == {
        "generator": True,
        "generator.temperature": 0.7,
        "generator.max_tokens": 1000,
        "generator.extra": {"top_p": 1},
        "generator.seed": 0,
    }


def test_of_a_derived_value_only_the_result_counts() -> None:
    """Encoding all images again because another number of shots is tried would cost hours."""
    one = noted(lambda c: c.most_shots(), config(adapter={"shots": [1, 16]}))
    assert one == {"most_shots()": 16}
    assert one == noted(lambda c: c.most_shots(), config(adapter={"shots": [1, 2, 16]}))
    assert noted(lambda c: c.few_shot("shapes")) == {"few_shot(shapes)": True}
    assert noted(lambda c: c.threshold("shapes")) == {"threshold(shapes)": 0.1}, (
        "a published default, too"
    )
    assert noted(lambda c: c.left_out) == {"left_out()": []}
    assert noted(lambda c: c.file) == {"file()": ""}
    assert noted(lambda c: c.datasets["shapes"].pair_text_source) == {
        "datasets.shapes.pair_text_source()": None
    }


def test_keys_that_change_no_result_are_not_noted() -> None:
    with_generator = config(generator={"model": "x"})
    keys = set(noted(deciding, with_generator))
    assert "generator.model" in keys
    assert not keys & OPERATION
    for key in OPERATION:
        section, _, name = key.rpartition(".")
        assert noted(
            lambda c, s=section, n=name: getattr(getattr(c, s) if s else c, n), with_generator
        ).keys() <= {"generator"}, key


def test_all_else_of_a_section_counts_as_read_whole() -> None:
    """A copy or a dump of pydantic would read unseen."""
    for look in (
        lambda c: c.model_dump(),
        lambda c: c.model_copy(update={}),
        lambda c: c.model_fields_set,
    ):
        assert {"rerank.top_k", "datasets", "models.m.model"} <= noted(look).keys()


@given(st.text(max_size=40))
def test_a_key_from_elsewhere_is_absent_or_a_value(key: str) -> None:
    """A certificate comes from other people: its keys are looked up, and nothing is called by them."""
    assert lookup(config(), key) is not None or key in ("generator", "")


@pytest.mark.parametrize(
    "key",
    [
        "at(x)",
        "model_dump()",
        "__class__",
        "datasets.shapes.__init__()",
        "few_shot(x",
        "few_shot(no)",
        "datasets.x",
    ],
)
def test_a_key_calls_nothing_but_what_is_meant_for_it(key: str) -> None:
    assert lookup(config(), key) == ABSENT
