"""Text sets and sentences: what a person writes, what is refused, what reaches the encoder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_clip.datasets.base import Templates
from coder_clip.datasets.entry import entry
from coder_clip.errors import UserError
from coder_clip.texts.sentences import (
    AS_PUBLISHED,
    FEW_SHOT,
    NAMES,
    Sentences,
    fill,
    make_sentences,
    pair_sentences,
)
from coder_clip.texts.sets import (
    PairSet,
    TextSet,
    load_pair_set,
    load_text_set,
    names_only,
    select_pairs,
)

CLASSES = ["red fox", "arctic fox"]


def write(tmp_path: Path, document: Any) -> Path:
    path = tmp_path / "texts.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def texts(*classes: dict[str, Any]) -> dict[str, Any]:
    return {"format": 1, "dataset": "foxes", "classes": list(classes)}


def pairs(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"format": 1, "dataset": "foxes", "pairs": list(entries)}


def refused(
    tmp_path: Path, document: Any, classes: list[str] = CLASSES, load: Any = load_text_set
) -> str:
    with pytest.raises(UserError) as caught:
        load(write(tmp_path, document), "foxes", classes)
    message = str(caught.value)
    assert "\n" not in message
    assert "texts.json" in message, "the person does not learn which file is wrong"
    return message


# ---- text sets ---


def test_order_comes_from_the_data_set(tmp_path: Path) -> None:
    """A set written in another order would describe foxes with the texts of other foxes."""
    path = write(
        tmp_path, texts({"name": "arctic_fox", "attribute": ["white fur"]}, {"name": "red fox"})
    )
    loaded = load_text_set(path, "foxes", CLASSES)
    assert [c.name for c in loaded.classes] == ["red fox", "arctic_fox"]
    assert loaded.classes[1].attribute == ["white fur"]


def test_a_missing_class_is_named(tmp_path: Path) -> None:
    message = refused(tmp_path, texts({"name": "red fox"}))
    assert "'arctic fox'" in message
    assert "add an entry" in message


def test_an_unknown_class_is_named_with_the_nearest(tmp_path: Path) -> None:
    message = refused(tmp_path, texts({"name": "red fox"}, {"name": "artic fox"}))
    assert "'artic fox'" in message
    assert "did you mean 'arctic fox'" in message


@pytest.mark.parametrize("kind", ["attribute", "analogous", "synonym"])
@pytest.mark.parametrize(
    ("value", "says"),
    [([], "is empty; leave the key out"), ([""], "empty"), (["  "], "empty"), (["white", 3], "3"), ([None], "None")],
)  # fmt: skip
def test_a_wrong_text_is_named(tmp_path: Path, kind: str, value: Any, says: str) -> None:
    """A failed generation would silently weaken one class."""
    message = refused(tmp_path, texts({"name": "red fox"}, {"name": "arctic fox", kind: value}))
    assert "'arctic fox'" in message
    assert kind in message
    assert says in message


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "valid"),
        ({"format": 1, "dataset": "foxes"}, "classes"),
        (texts({"name": "red fox"}, {"name": 3}), "name: input should"),
        (texts({"name": "red fox"}, {"name": "arctic fox", "attribute": "white"}), "attribute"),
        (texts({"name": "red fox"}, {"name": "arctic fox", "atribute": ["white"]}), "atribute"),
        ({**texts({"name": "red fox"}, {"name": "arctic fox"}), "format": 2}, "format"),
        (texts("red fox", "arctic fox"), "classes.0"),  # type: ignore[arg-type]
    ],
)
def test_another_shape_is_refused(tmp_path: Path, document: Any, says: str) -> None:
    assert says in refused(tmp_path, document)


def test_duplicate_names_are_told_apart_by_place(tmp_path: Path) -> None:
    """ImageNet has two classes called "missile"."""
    names = ["missile", "missile", "sunglasses"]
    document = texts(
        {"name": "missile", "attribute": ["fins"]}, {"name": "missile"}, {"name": "sunglasses"}
    )
    loaded = load_text_set(write(tmp_path, document), "foxes", names)
    assert [c.attribute for c in loaded.classes] == [["fins"], [], []]
    swapped = texts({"name": "sunglasses"}, {"name": "missile"}, {"name": "missile"})
    assert "label order" in refused(tmp_path, swapped, names)
    assert "label order" in refused(
        tmp_path, texts({"name": "missile"}, {"name": "sunglasses"}), names
    )


def test_texts_given_twice_count_once_and_keep_their_order(tmp_path: Path) -> None:
    """list(set()) gave another order, and other sums, in every process."""
    document = texts(
        {"name": "red fox", "attribute": ["b", "a", "b", "c", "a"]}, {"name": "arctic fox"}
    )
    assert load_text_set(write(tmp_path, document), "foxes", CLASSES).classes[0].attribute == [
        "b",
        "a",
        "c",
    ]


def test_a_written_set_reads_back(tmp_path: Path) -> None:
    document = texts({"name": "red fox", "synonym": ["vixen"]}, {"name": "arctic fox"})
    first = load_text_set(write(tmp_path, document), "foxes", CLASSES)
    again = load_text_set(write(tmp_path, first.dump()), "foxes", CLASSES)
    assert again == first


def test_names_alone_are_a_text_set() -> None:
    alone = names_only("foxes", ["red_fox", "arctic  fox"])
    assert [c.name for c in alone.classes] == ["red fox", "arctic fox"]
    assert not any(c.attribute or c.analogous or c.synonym for c in alone.classes)


# ---- pairs ---

PAIR = {"a": "red fox", "b": "arctic fox", "a_index": 0, "b_index": 1, "a_not_b": ["red fur"]}


def test_a_pair_may_have_one_side_only(tmp_path: Path) -> None:
    loaded = load_pair_set(write(tmp_path, pairs(PAIR)), "foxes", CLASSES)
    assert loaded.pairs[0].b_not_a == []
    assert pair_sentences(loaded, Templates()).keys() == {(0, 1)}


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([{**PAIR, "b_index": 0}], "has index 0, where the data set has 'red fox'"),
        ([{**PAIR, "b_index": 2}], "nothing"),
        ([{**PAIR, "b_index": -1}], "nothing"),
        ([{**PAIR, "a": "grey fox"}], "'grey fox'"),
        ([{**PAIR, "b": "red fox", "b_index": 0}], "with itself"),
        ([PAIR, PAIR], "twice"),
        ([PAIR, {"a": "arctic fox", "b": "red fox", "a_index": 1, "b_index": 0}], "twice"),
        (
            [{**PAIR, "a_not_b": []}],
            "'red fox' and 'arctic fox': 'a_not_b' is empty; leave the key out",
        ),
        ([{**PAIR, "a_not_b": [3]}], "valid string (got 3)"),
        ([{**PAIR, "a_index": "0"}], "a_index"),
    ],
)
def test_a_wrong_pair_is_refused(tmp_path: Path, entries: list[dict[str, Any]], says: str) -> None:
    """The difference would push the wrong class."""
    assert says in refused(tmp_path, pairs(*entries), load=load_pair_set)


def test_pairs_with_one_side_are_named(tmp_path: Path) -> None:
    """Such a pair counts for nothing, and the author would believe that it helps."""
    whole = {**PAIR, "a_not_b": ["red fur"], "b_not_a": ["white fur"]}
    assert load_pair_set(write(tmp_path, pairs(whole)), "foxes", CLASSES).one_sided() is None
    half = {key: value for key, value in whole.items() if key != "b_not_a"}
    said = load_pair_set(write(tmp_path, pairs(half)), "foxes", CLASSES).one_sided()
    assert said is not None
    assert "1 of 1" in said
    assert "'red fox' and 'arctic fox'" in said
    assert "b_not_a" in said


@pytest.mark.parametrize(
    ("load", "instead"), [(load_text_set, "texts: names"), (load_pair_set, "leave the key out")]
)
def test_a_message_about_a_written_file_does_not_say_delete(
    tmp_path: Path, load: Any, instead: str
) -> None:
    """Such a file holds days of work; the message names the place of the mistake."""
    path = tmp_path / "mine.json"
    with pytest.raises(UserError) as missing:
        load(path, "foxes", CLASSES)
    assert "data/texts/README.md" in str(missing.value)
    assert instead in str(missing.value)
    assert "snakemake" not in str(missing.value)
    path.write_text('{"format": 1,\n "dataset": "foxes",\n}', encoding="utf-8")
    with pytest.raises(UserError) as comma:
        load(path, "foxes", CLASSES)
    assert re.search(r"line [23], column \d+", str(comma.value))
    assert "delete" not in str(comma.value)
    assert "correct it there" in str(comma.value)
    path.write_text('{"dataset": "foxes", "dataset": "wolves"}', encoding="utf-8")
    with pytest.raises(UserError, match="'dataset' is there twice"):
        load(path, "foxes", CLASSES)
    path.write_bytes('{"format": "ä"}'.encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8"):
        load(path, "foxes", CLASSES)


def test_a_misspelt_key_is_named_with_the_nearest(tmp_path: Path) -> None:
    message = refused(
        tmp_path, texts({"name": "red fox"}, {"name": "arctic fox", "atribute": ["white fur"]})
    )
    assert "'arctic fox': unknown key 'atribute' (did you mean 'attribute'?)" in message
    message = refused(tmp_path, pairs({**PAIR, "b_no_a": ["x"]}), load=load_pair_set)
    assert "'red fox': unknown key 'b_no_a' (did you mean 'b_not_a'?)" in message
    assert "did you mean 'classes'" in refused(
        tmp_path, {**texts({"name": "red fox"}), "clases": []}
    )


def test_pairs_are_chosen_without_order() -> None:
    both = PairSet.model_validate(pairs(PAIR))
    assert select_pairs(both, [(1, 0), (0, 2)]).pairs == both.pairs
    assert select_pairs(both, []).pairs == both.pairs  # on other images stage one may confuse them


# ---- sentences ---


def sentences(*classes: dict[str, Any], templates: Templates | None = None) -> Sentences:
    found = TextSet.model_validate(texts(*classes))
    return make_sentences(found, templates or Templates())


def of(found: Sentences, kind: str, *tags: str) -> list[str]:
    return [found.text[r] for r in found.rows(kind, *tags)]


def test_each_kind_in_its_template() -> None:
    found = sentences(
        {
            **{
                "name": "red fox",
                "attribute": ["a tail"],
                "analogous": ["dog"],
                "synonym": ["vixen"],
            },
            "sentence": ["Red {class} foxes are red."],
        },
        templates=Templates(prompts=("a {class}.", "the {class}.")),
    )
    assert of(found, "name") == ["a photo of a red fox."]
    assert of(found, "prompt") == ["a red fox.", "the red fox."]
    assert of(found, "attribute") == ["a photo of a red fox which has a tail."]
    assert of(found, "analogous") == ["a photo of a red fox similar to dog."]
    assert of(found, "synonym") == ["a photo of a vixen."]
    assert of(found, "sentence") == ["Red {class} foxes are red."]


def test_each_class_has_its_own_texts() -> None:
    """A class described by the texts of another would be recognised as that one."""
    both = [
        {
            "name": name,
            **{
                kind: [f"{kind} of {name}"]
                for kind in ("attribute", "analogous", "synonym", "sentence")
            },
        }
        for name in ("red_fox", "wild_cat")
    ]
    found = sentences(*both)
    assert len(found.text) == len(found.kind) == len(found.class_index)
    for text, kind, index in zip(found.text, found.kind, found.class_index, strict=True):
        name, other = ("red", "cat") if index == 0 else ("cat", "red")
        assert kind == "synonym:as_published" or name in text, (kind, text)
        assert other not in text, (kind, text)


def test_as_published_every_synonym_reaches_clip_as_none() -> None:
    found = sentences({"name": "fox", "synonym": ["vixen", "reynard"]}, {"name": "cat"})
    assert of(found, "synonym") == ["a photo of a vixen.", "a photo of a reynard."]
    assert of(found, "synonym", AS_PUBLISHED) == ["a photo of a None."]
    assert [found.class_index[r] for r in found.rows("synonym", AS_PUBLISHED)] == [0]


def test_as_published_underscores_stay_but_in_names() -> None:
    found = sentences({"name": "red_fox", "attribute": ["fur"], "analogous": ["wild_dog"]})
    assert of(found, "name", AS_PUBLISHED) == ["a photo of a red fox."]
    assert of(found, "attribute") == ["a photo of a red fox which has fur."]
    assert of(found, "attribute", AS_PUBLISHED) == ["a photo of a red_fox which has fur."]
    assert of(found, "analogous") == ["a photo of a red fox similar to wild dog."]
    assert of(found, "analogous", AS_PUBLISHED) == ["a photo of a red_fox similar to wild_dog."]


def test_the_authors_class_names_and_few_shot_wordings() -> None:
    """Pets and DTD have other sentences for few-shot, Caltech-101 and Cars other names; each alone
    and together.
    """
    templates = Templates(
        attribute="A pet photo of {class} which has {attribute}.",
        attribute_few_shot="{class} which has {attribute}",
        class_names_as_published=("Wild_Cats", "dog"),
    )
    cat = {"name": "wild_cat", "attribute": ["fur"], "analogous": ["lynx"], "synonym": ["felid"]}
    found = sentences(cat, {"name": "dog"}, templates=templates)
    assert of(found, "name", NAMES) == ["a photo of a Wild Cats.", "a photo of a dog."]
    assert of(found, "name", FEW_SHOT, AS_PUBLISHED)[0] == "a photo of a wild cat."
    assert {
        tags: of(found, "attribute", *tags)
        for tags in ((), (NAMES,), (FEW_SHOT,), (FEW_SHOT, AS_PUBLISHED))
    } == {
        (): ["A pet photo of wild cat which has fur."],
        (NAMES,): ["A pet photo of Wild Cats which has fur."],
        (FEW_SHOT,): ["wild cat which has fur"],
        (FEW_SHOT, AS_PUBLISHED): ["wild_cat which has fur"],
    }
    assert of(found, "attribute", AS_PUBLISHED, FEW_SHOT, NAMES) == ["Wild_Cats which has fur"]
    assert of(found, "analogous", AS_PUBLISHED, FEW_SHOT, NAMES) == [
        "a photo of a Wild_Cats similar to lynx."
    ]
    assert of(found, "synonym", NAMES, FEW_SHOT) == ["a photo of a felid."]


def test_without_bugs_in_reach_published_sentences_are_the_same() -> None:
    found = sentences({"name": "fox", "attribute": ["fur"], "analogous": ["dog"]})
    for kind in ("name", "attribute", "analogous", "synonym"):
        assert found.rows(kind, AS_PUBLISHED) == found.rows(kind)


def test_sentences_that_templates_make_equal_count_once() -> None:
    """Two prompts that differ in nothing would weigh double."""
    found = sentences({"name": "fox"}, templates=Templates(prompts=("a {class}.", "a {class}.")))
    assert of(found, "prompt") == ["a fox."]


@given(st.text(), st.text())
def test_braces_in_texts_are_texts(name: str, attribute: str) -> None:
    """A description that holds "{class}" or "{" would crash or be filled."""
    template = "a {class} which has {attribute}."
    assert fill(template, name, attribute=attribute) == f"a {name} which has {attribute}."


def test_pair_sentences_go_both_ways_in_every_template() -> None:
    both = PairSet.model_validate(
        pairs({**PAIR, "a": "red_fox", "b_not_a": ["white fur", "white fur"]})
    )
    found = pair_sentences(
        both, Templates(one_to_one=("{class}: {one_to_one}", "{one_to_one} of {class}"))
    )
    assert found == {
        (0, 1): ["red fox: red fur", "red fur of red fox"],
        (1, 0): ["arctic fox: white fur", "white fur of arctic fox"],
    }


def test_pair_sentences_as_published_keep_underscores_and_dtds_missing_comma() -> None:
    both = PairSet.model_validate(pairs({**PAIR, "a": "red_fox", "b_not_a": ["white fur"]}))
    templates = Templates(one_to_one=("{class}: {one_to_one}", "{one_to_one} of {class}"))
    found = pair_sentences(both, templates, as_published=True)
    assert found[0, 1] == ["red_fox: red fur", "red fur of red_fox"]
    dtd = entry("dtd").make_templates()
    corrected, published = dtd.one_to_one, dtd.one_to_one_as_published
    assert published == (corrected[0] + corrected[1], *corrected[2:])
    assert (
        pair_sentences(both, dtd, as_published=True)[0, 1][1]
        == "In handling red fur, red_fox differs distinctly from arctic fox."
    )
