"""Texts that others published: every class name matched or named, no pickle that can do anything."""

from __future__ import annotations

import contextlib
import os
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coder_clip.datasets.base import Templates
from coder_clip.datasets.entry import entry
from coder_clip.datasets.pickles import read_plain_pickle
from coder_clip.errors import UserError
from coder_clip.foundation.yaml_file import read_yaml
from coder_clip.texts.importers import FORMATS, RENAMES, Import, Mismatch, import_texts
from coder_clip.texts.names import name_key
from coder_clip.texts.sentences import described, make_sentences
from coder_clip.texts.sets import load_text_set
from pickles import Evil, assert_refused, saved

CLASSES = ["red_fox", "Arctic Fox", "wolf"]
DESCRIPTIONS = {
    "wolf": ["grey fur", "grey fur", " long  legs "],
    "Red Fox": ["red fur"],
    "arctic-fox": ["white fur"],
}


def matching(names: list[str], classes: list[str]) -> tuple[list[list[int]], Import]:
    importing = Import(Path("d.json"), "foxes", classes, {})
    return importing.match(names), importing


def attributes(found: Any) -> list[list[str]]:
    return [c.attribute for c in found.classes]


# ---- names ---


def test_names_match_whatever_case_underscores_and_order(tmp_path: Path) -> None:
    """Matched by position, wolves would be described with a fox's texts."""
    path = saved(tmp_path / "d.json", DESCRIPTIONS)
    found, notes = import_texts("descriptions", path, "foxes", CLASSES)
    assert [c.name for c in found.classes] == CLASSES
    assert attributes(found) == [["red fur"], ["white fur"], ["grey fur", "long legs"]]
    assert "attribute: 1 texts left out, empty or repeated" in notes[0]


def test_names_match_in_any_order_of_their_words() -> None:
    """Others write "Acura RL Sedan 2012" and "church outdoor": 0 of 196 cars fitted, and 271 of 397
    scenes.
    """
    for dataset in ("stanford_cars", "sun397"):
        ours = entry(dataset).class_names()
        words = [name.replace("_", " ").split() for name in ours]
        theirs = [" ".join([*rest, first]) for first, *rest in words]
        theirs = [name.replace(" ", "_") if i % 2 else name for i, name in enumerate(theirs)]
        indices, importing = matching(theirs, ours)
        assert indices == [[i] for i in range(len(ours))]
        assert importing.problems == []
    _, importing = matching(["dog house"], ["house dog", "dog house"])
    assert importing.problems == []
    assert matching(["b a c"], ["a b c", "c b a"])[1].problems, "which one?"


def test_every_mismatch_is_listed_at_once(tmp_path: Path) -> None:
    """One at a time, an import of a thousand classes takes a thousand runs."""
    path = saved(tmp_path / "d.json", {"Red Fox": ["a"], "artic fox": ["b"], "jackal": ["c"]})
    with pytest.raises(Mismatch) as caught:
        import_texts("descriptions", path, "foxes", CLASSES)
    assert caught.value.lines == [
        "1 of 3 classes of 'foxes' have texts",
        "without some kind of text (2): 'Arctic Fox', 'wolf'",
        "does not fit (2): 'artic fox' is not a class of the "
        "data set (did you mean 'Arctic Fox'?); "
        "'jackal' is not a class of the data set",
    ]
    assert "--rename" in str(caught.value)


def test_a_renamed_class_fits(tmp_path: Path) -> None:
    path = saved(tmp_path / "d.json", {"Red Fox": ["a"], "polar fox": ["b"], "wolf": ["c"]})
    found, _ = import_texts(
        "descriptions", path, "foxes", CLASSES, renames={"polar_fox": "arctic fox"}
    )
    assert attributes(found)[1] == ["b"]
    assert found.provenance["attribute"]["renamed"] == {"polar_fox": "arctic fox"}


def test_a_rename_that_names_nothing_is_refused_even_in_part(tmp_path: Path) -> None:
    """A slip of the pen would silently leave the class without texts."""
    path = saved(tmp_path / "d.json", DESCRIPTIONS)
    with pytest.raises(Mismatch) as caught:
        import_texts(
            "descriptions", path, "foxes", CLASSES, renames={"polr fox": "wolf"}, partial=True
        )
    assert caught.value.lines[1] == "does not fit (1): --rename: d.json has no class 'polr fox'"


def test_what_fits_can_be_taken(tmp_path: Path) -> None:
    path = saved(tmp_path / "d.json", {"Red Fox": ["a"], "jackal": ["c"]})
    found, notes = import_texts("plain", path, "foxes", CLASSES, partial=True)
    assert attributes(found) == [["a"], [], []]
    assert "does not fit (1): 'jackal' is not a class of the data set" in notes
    assert found.provenance["attribute"]["without"] == ["Arctic Fox", "wolf"]


def test_two_names_for_one_class_are_a_mismatch() -> None:
    _, importing = matching(["red fox", "Red_Fox"], ["red fox"])
    assert importing.problems == ["'red fox' and 'Red_Fox' are both 'red fox'"]


def test_names_that_differ_in_case_alone_are_not_guessed() -> None:
    for names in (["US", "us"], ["Us"]):
        _, importing = matching(names, ["us", "US"])
        assert "could be any of 'US', 'us'" in importing.problems[0]


def test_a_name_that_the_label_set_holds_twice() -> None:
    """ImageNet has two classes "missile": given twice they are in order, given once both get the
    texts.
    """
    wanted = ["missile", "fox", "missile"]
    assert matching(["missile", "missile", "fox"], wanted)[0] == [[0], [2], [1]]
    indices, importing = matching(["fox", "missile"], wanted)
    assert indices == [[1], [0, 2]]
    assert importing.notes == ["'missile' is the name of 2 classes; all get its texts"]


@given(st.permutations(["a_b", "c", "d-e", "f g"]), st.booleans())
@settings(max_examples=30)
def test_any_order_gives_the_same_match(names: list[str], upper: bool) -> None:
    wanted = ["A b", "C", "D E", "F_G"]
    matched, importing = matching([n.upper() if upper else n for n in names], wanted)
    assert not importing.problems
    for name, indices in zip(names, matched, strict=True):
        assert [wanted[i].lower().replace("_", " ") for i in indices] == [
            name.replace("_", " ").replace("-", " ")
        ]


# ---- formats ---


def test_cupl_gives_sentences_and_no_attributes(tmp_path: Path) -> None:
    """In "a photo of a wolf which has A wolf is grey." the sentence would be noise."""
    path = saved(tmp_path / "c.json", {c: [f"A {c} is grey."] for c in CLASSES})
    found, notes = import_texts("cupl", path, "foxes", CLASSES)
    assert attributes(found) == [[], [], []]
    assert found.classes[2].sentence == ["A wolf is grey."]
    assert any("sentence: FILE" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"wolf": ["a"], "wolf": ["b"]}', "'wolf' is there twice"),
        ('{"wolf": ["a", 3]}', "is not a list of texts"),
        ('{"wolf": null}', "is not a list of texts"),
        ('{"wolf": ', "not valid JSON"),
        ('[["a"]]', "not an object with a list of texts"),
        ("3", "not an object with a list of texts"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_file_of_another_form_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "d.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=says) as caught:
        import_texts("descriptions", path, "foxes", CLASSES)
    assert "d.json" in str(caught.value)


def test_unknown_formats_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'descriptions'"):
        import_texts("description", tmp_path, "foxes", CLASSES)
    for form in FORMATS:
        with pytest.raises(UserError, match="no file"):
            import_texts(form, tmp_path / "nothing", "foxes", CLASSES)


def test_texts_are_cleaned_and_what_was_dropped_is_said(tmp_path: Path) -> None:
    """A bidi character turns a table around, NUL ends a line of LaTeX, 100 kB go to no encoder."""
    texts = ["a\x00 tail", "\x1b[31mred", "ears\u202e", "x" * 100_000, "a tail", " ", "a\ud800b"]
    path = saved(tmp_path / "d.json", {c: texts for c in CLASSES})
    found, notes = import_texts("plain", path, "foxes", CLASSES)
    assert attributes(found)[0] == ["a tail", "[31mred", "ears", "a b"]
    assert notes == [
        "attribute: 12 texts without control characters",
        "attribute: 3 texts left out, longer than 1000 characters",
        "attribute: 6 texts left out, empty or repeated",
    ]
    saved(tmp_path / "out.json", found.dump())


@pytest.mark.parametrize("texts", [[], ["", " "], ["\u202e"], ["x" * 2000]])
def test_a_file_without_a_usable_text_is_refused(tmp_path: Path, texts: list[str]) -> None:
    """An empty text set would be CLIP under another name."""
    path = saved(tmp_path / "d.json", {c: texts for c in CLASSES})
    with pytest.raises(UserError, match="no usable text"):
        import_texts("plain", path, "foxes", CLASSES, partial=True)


# ---- pickles ---


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_is_refused_and_does_nothing(tmp_path: Path, protocol: int) -> None:
    """Anyone can publish a pickle; opening it as the published code does runs whatever is in it."""
    mark = tmp_path / "ran"
    data = pickle.dumps([["fine"], Evil(mark)], protocol=protocol)
    assert_refused(read_plain_pickle, tmp_path / "evil.pkl", data, mark)


@pytest.mark.parametrize(
    "value",
    [
        1,
        1.5,
        None,
        True,
        b"bytes",
        ("a",),
        {"a"},
        [3],
        {"a": None},
        complex(1),
        range(3),
        os.system,
    ],
)
def test_anything_but_lists_dicts_and_strings_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UserError, match="refused"):
        read_plain_pickle(saved(tmp_path / "x.pkl", value))


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'true'\ntR.",  # the classic
        b"(ios\nsystem\n.",
        b"\x80\x02]q",  # cut off
        b"\x80\x04a.",  # appends to nothing
        b"\x80\x04}]]s.",  # a list as a key
        b"\x82\x01.",  # an extension
        b"Pid\n.",  # an object from outside
        # object 16,777,216, for which the standard reader makes room
        b"\x80\x04]r\x00\x00\x00\x01.",
        b"",
        b"no pickle at all",
    ],
)
def test_hand_made_pickles_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"x\.pkl"):
        read_plain_pickle(path)


def test_a_small_pickle_of_a_huge_list_is_refused(tmp_path: Path) -> None:
    """References to references: a hundred bytes that no memory holds once they are written out."""
    value: list[Any] = ["x"] * 10
    for _ in range(9):
        value = [value] * 10
    with pytest.raises(UserError, match="more than 10,000,000 items"):
        read_plain_pickle(saved(tmp_path / "x.pkl", value))
    with pytest.raises(
        UserError, match="more than 10,000,000 items"
    ):  # one long string, named a thousand times
        read_plain_pickle(saved(tmp_path / "z.pkl", ["x" * 1_000_000] * 1000))
    itself: list[Any] = []
    itself.append(itself)
    with pytest.raises(UserError, match="contains itself"):
        read_plain_pickle(saved(tmp_path / "y.pkl", itself))


PLAIN = st.recursive(
    st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=20,
)


@given(PLAIN, st.integers(0, pickle.HIGHEST_PROTOCOL))
@settings(max_examples=50)
def test_plain_pickles_are_read_whole(
    tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int
) -> None:
    path = tmp_path_factory.mktemp("p") / "x.pkl"
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    assert read_plain_pickle(path) == value
    path.write_bytes(pickletools.optimize(path.read_bytes()))
    assert read_plain_pickle(path) == value


@given(st.binary(max_size=40))
@settings(max_examples=200)
def test_noise_ends_in_one_line(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("p") / "x.pkl"
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        assert isinstance(read_plain_pickle(path), (str, list, dict))


# ---- the command ---


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/classes").mkdir(parents=True)
    (tmp_path / "data/classes/foxes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    return tmp_path


def test_import_writes_a_text_set_and_says_how_to_use_it(
    command: Callable[..., Any], workplace: Path
) -> None:
    source = saved(workplace / "d.json", DESCRIPTIONS)
    answer = command("texts", "import", "descriptions", source, "--dataset", "foxes")
    assert answer.code == 0, answer.err
    written = workplace / "data/texts/foxes.descriptions.json"
    assert load_text_set(written, "foxes", CLASSES).classes[0].attribute == ["red fur"]
    assert "datasets: {foxes: {texts: data/texts/foxes.descriptions.json}}" in answer.out
    again = command("texts", "import", "descriptions", source, "--dataset", "foxes")
    assert again.code == 1
    assert "--force" in again.err
    assert (
        command("texts", "import", "descriptions", source, "--dataset", "foxes", "--force").code
        == 0
    )


def test_import_lists_mismatches_and_writes_nothing(
    command: Callable[..., Any], workplace: Path
) -> None:
    source = saved(workplace / "d.json", {"jackal": ["a"], "wolf": ["b"]})
    answer = command("texts", "import", "descriptions", source, "-d", "foxes")
    assert answer.code == 1
    assert answer.err.splitlines()[:3] == [
        "1 of 3 classes of 'foxes' have texts",
        "without some kind of text (2): 'red_fox', 'Arctic Fox'",
        "does not fit (1): 'jackal' is not a class of the data set",
    ]
    assert answer.err.splitlines()[-1].startswith("coder-clip: error: ")
    assert not (workplace / "data/texts").exists()
    renamed = command(
        "texts", "import", "descriptions", source, "-d", "foxes", "--rename", "jackal"
    )
    assert "THEIRS=OURS" in renamed.err


def test_an_import_for_many_classes_is_a_few_lines_the_missing_ones_first(
    command: Callable[..., Any], workplace: Path
) -> None:
    """970 lines for 40 classes hid the eight without texts at their end."""
    names = [f"class {i}" for i in range(40)]
    (workplace / "data/classes/foxes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    texts = {name: [f"mark {j} of {name}" for j in range(24)] for name in names[:32]}
    answer = command(
        "texts", "import", "descriptions", saved(workplace / "d.json", texts), "-d", "foxes"
    )
    assert answer.code == 1
    lines = (answer.out + answer.err).splitlines()
    assert len(lines) < 8
    assert lines[1].startswith("without some kind of text (8): 'class 32'")


def test_import_without_class_names_says_where_they_go(
    command: Callable[..., Any], workplace: Path
) -> None:
    saved(workplace / "d.json", DESCRIPTIONS)
    (workplace / "c.yaml").write_text(
        "datasets: [shapes]\nmodels: {m: {model: ViT-B-32, pretrained: openai}}\n"
    )
    answer = command("texts", "import", "descriptions", "d.json", "-d", "cats", "-c", "c.yaml")
    assert "--classes" in answer.err


# ---- what is not a text
# ----------------------------------------------------------------------------


def test_descriptions_are_cleaned_for_their_template(tmp_path: Path) -> None:
    """In "a photo of a wolf which has which has a black nose." the encoder reads noise."""
    texts = [
        "which has a black nose", "- a long tail", "* a long tail.", "• white paws", "1. grey fur", "(2) a mane",
        "has pointed ears", "with a bushy coat", '"amber eyes"', "it is a medium-sized dog.", "usually grey",
        "it has long legs.",
    ]  # fmt: skip
    path = saved(tmp_path / "d.json", {c: texts for c in CLASSES})
    found, notes = import_texts("plain", path, "foxes", CLASSES)
    assert attributes(found)[0] == [
        "a black nose", "a long tail", "white paws", "grey fur", "a mane", "pointed ears", "a bushy coat", "amber eyes",
        "grey", "long legs",
    ]  # fmt: skip
    assert "attribute: 3 texts left out, because they do not continue 'which has …'" in notes
    assert any("without bullets, quotes, full stops or 'which has'" in note for note in notes)


def their_sentence(descriptor: str) -> str:
    """What Menon and Vondrick's code makes of a descriptor, in the order of its branches."""
    if descriptor.startswith("a") or descriptor.startswith("an"):
        return f"which is {descriptor}"
    for beginning in ("has", "often", "typically", "may", "can"):
        if descriptor.startswith(beginning):
            return f"which {descriptor}"
    if descriptor.startswith("used"):
        return f"which is {descriptor}"
    return f"which has {descriptor}"


def test_descriptors_keep_their_authors_rule_and_all_their_texts(tmp_path: Path) -> None:
    """Without the rule a gull is one "which has a seabird", and 13 % of the texts were dropped."""
    texts = [
        *("a seabird", "an even surface", "used for cutting", "has a tail", "often found in water"),
        *("typically white", "may be striped", "can be sticky", "four engines", "it is round"),
        *("usually grey", "- a bullet", "flowers (optional)", "antennae", "canards near the nose"),
        *("which are white", "Two wings", "the bands are of different widths"),
    ]
    path = saved(tmp_path / "d.json", {c: texts for c in CLASSES})
    found, notes = import_texts("descriptions", path, "foxes", CLASSES)
    assert notes == []
    templates = Templates(attribute="a photo of a {class} which has {attribute}.")
    sentences = make_sentences(found, templates)
    made = [sentences.text[i] for i in sentences.rows("attribute")][: len(texts)]
    clauses = ["which are white" if "which" in text else their_sentence(text) for text in texts]
    assert made == [f"a photo of a red fox {clause}." for clause in clauses]


def test_a_clause_needs_no_which_has_in_the_template() -> None:
    """DTD's template would say "characterized by its which is a mesh feature"."""
    template = "The texture of {class} is characterized by its {attribute} feature."
    assert described(template, "meshed", "which is a net") == "meshed, which is a net."
    assert described(template, "meshed", "mesh").endswith("characterized by its mesh feature.")
    few_shot = "{class} which has {attribute}"
    assert described(few_shot, "gull", "which often flies") == "gull which often flies"


def test_others_sentences_are_imported_as_sentences_and_waffle_is_refused(tmp_path: Path) -> None:
    """Sentences as attributes would be "which has In the satellite image …"; random words belong to
    no class.
    """
    path = saved(tmp_path / "c.json", {c: ["The image shows fields.\n"] for c in CLASSES})
    for form in ("awt", "mpvr", "cupl"):
        found, notes = import_texts(form, path, "foxes", CLASSES)
        assert found.classes[0].sentence == ["The image shows fields."]
        assert attributes(found) == [[], [], []]
        assert any("for a baseline" in note for note in notes)
    with pytest.raises(UserError, match="random_words") as error:
        import_texts("waffle", path, "foxes", CLASSES)
    assert "import descriptions" in str(error.value)


def test_shipped_renames_are_classes_and_complete_published_names() -> None:
    """A rename to a name that no class has would be found by whoever imports, not here."""
    for dataset, renames in read_yaml(RENAMES).items():
        keys = set(map(name_key, entry(dataset).class_names()))
        for theirs, ours in renames.items():
            assert name_key(ours) in keys, (dataset, ours)
            assert name_key(theirs) not in keys, (dataset, theirs)
    ours = entry("imagenet").class_names()
    published = {27: "eft", 638: "maillot", 744: "projectile", 836: "sunglass"}
    theirs = [published.get(i, name) for i, name in enumerate(ours)]
    importing = Import(Path("d.json"), "imagenet", ours, {})
    assert importing.match(theirs) == [[i] for i in range(1000)]
    assert importing.problems == []


def test_whole_sentences_stay_as_they_are(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.json", {c: ["It is a wolf."] for c in CLASSES})
    found, _ = import_texts("cupl", path, "foxes", CLASSES)
    assert found.classes[0].sentence == ["It is a wolf."]


def test_numbered_folder_names_match() -> None:
    """CUB calls its folders 001.Black_footed_Albatross: 0 of 200 classes fitted."""
    ours = entry("cub200").class_names()
    theirs = [
        f"{i:03}.{name.replace('-', '_').replace(' ', '_')}" for i, name in enumerate(ours, 1)
    ]
    indices, importing = matching(theirs, ours)
    assert indices == [[i] for i in range(200)]
    assert importing.problems == []
    assert matching(["1. FC", "fox"], ["1. FC", "fox"])[0] == [[0], [1]]


def test_a_note_about_the_file_is_no_class(tmp_path: Path) -> None:
    """A key "_meta" refused the whole file."""
    path = saved(tmp_path / "d.json", {"_meta": {"by": "us"}, "_version": "3", **DESCRIPTIONS})
    found, notes = import_texts("plain", path, "foxes", CLASSES)
    assert attributes(found)[0] == ["red fur"]
    assert "left out, because they are about the file: _meta, _version" in notes
