"""The authors' archive of texts, in the form that their code reads: every data set, and nothing in
it trusted.
"""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coder_clip.datasets import PUBLISHED
from coder_clip.datasets.entry import entry
from coder_clip.errors import UserError
from coder_clip.pipeline.config import load_config
from coder_clip.texts import authors
from coder_clip.texts.sets import load_pair_set, load_text_set
from fixtures import REPO
from pickles import Evil, saved
from web import serve

SETS = {
    "eurosat": "eurosat",
    "DTD": "dtd",
    "oxford-pet": "oxford_pets",
    "stanford_cars": "stanford_cars",
}


def spelt(name: str) -> list[str]:
    """The authors' spelling of a data set's classes; their order is another one here, to see that
    names decide.
    """
    ours = entry(name).class_names()
    theirs = entry(name).make_templates().class_names_as_published or ours
    return list(theirs)[::-1]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """``expert_knowledge.zip`` of four data sets, and beside it the class files of the repository."""
    folder, classes = tmp_path / "expert_knowledge", tmp_path / "class_name"
    for theirs, ours in SETS.items():
        names = spelt(ours)
        classes.mkdir(exist_ok=True)
        (classes / f"{theirs}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        saved(
            folder / f"attribute/{theirs}.pkl", [[f"mark of {n}", f"colour of {n}"] for n in names]
        )
        saved(folder / f"simile_class/{theirs}.pkl", [[f"cousin of {n}"] for n in names])
        if ours == "stanford_cars":
            continue
        saved(folder / f"synonym/{theirs}.json", [{"syno": [f"other_{n}"]} for n in names])
        a, b, c = names[:3]
        pairs = {a: {b: ["stripes"]}, b: {a: ["dots", "dots"], c: ["a tail"]}}
        saved(folder / f"ovo_attribute/{theirs}.json", pairs)
    saved(folder / "attribute/STL10.pkl", [["wings"]] * 10)
    made = shutil.make_archive(
        str(tmp_path / "expert_knowledge"), "zip", tmp_path, "expert_knowledge"
    )
    shutil.rmtree(folder)
    return Path(made)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def test_the_whole_archive_becomes_text_sets(
    command: Callable[..., Any],
    archive: Path,
    workplace: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody reproduces the paper's own numbers without its texts, and one data set a call took an
    evening.
    """
    answer = command(
        "texts", "import", "authors", archive, "--their-classes", archive.parent / "class_name"
    )
    assert answer.code == 0, answer.err
    out = workplace / "data/texts/authors"
    for ours in SETS.values():
        names = entry(ours).class_names()
        theirs = entry(ours).make_templates().class_names_as_published or names
        texts = load_text_set(out / f"{ours}.json", ours, names)
        for own, there, found in zip(names, theirs, texts.classes, strict=True):
            assert found.name == own
            assert found.attribute == [f"mark of {there}", f"colour of {there}"]
            assert found.analogous == [f"cousin of {there}"]
            assert found.synonym == ([] if ours == "stanford_cars" else [f"other_{there}"])
        assert f"{ours}: data/texts/authors/{ours}.json: {len(names)} classes" in answer.out
    names = entry("eurosat").class_names()
    one, both = load_pair_set(out / "eurosat.one_to_one.json", "eurosat", names).pairs
    assert (one.a_not_b, one.b_not_a) == ([], ["a tail"])
    assert (both.a_not_b, both.b_not_a) == (["dots"], ["stripes"])
    assert "eurosat: one_to_one: 1 of 2 pairs have texts on one side" in answer.out
    assert "stanford_cars: the archive has no usable file of: synonym, one_to_one" in answer.out
    assert not (out / "stanford_cars.one_to_one.json").exists()
    assert "left out, not a data set of this project: STL10" in caplog.text
    assert answer.out.splitlines()[0].startswith(f"{archive}: sha256:")
    provenance = json.loads((out / "eurosat.json").read_text())["provenance"]
    assert str(archive.parent) not in json.dumps(provenance), (
        "a path of this machine would be in results"
    )
    again = command("texts", "import", "authors", archive, "-d", "eurosat")
    assert again.code == 1


def test_one_data_set_from_a_folder_and_from_an_address(
    command: Callable[..., Any], archive: Path, workplace: Path
) -> None:
    """Some have the folder already, others the address alone; both get the same bytes."""
    theirs = ["--their-classes", archive.parent / "class_name", "-d", "eurosat"]
    with serve() as web:
        web.files["/expert_knowledge.zip"] = archive.read_bytes()
        done = command(
            "texts", "import", "authors", f"{web.url}/expert_knowledge.zip", *theirs, "--out", "web"
        )
        assert done.code == 0, done.err
    shutil.unpack_archive(archive, workplace / "unpacked")
    done = command(
        "texts",
        "import",
        "authors",
        "unpacked/expert_knowledge",
        *theirs,
        "--out",
        "folder",
        "--force",
    )
    assert done.code == 0, done.err
    for file in ("eurosat.json", "eurosat.one_to_one.json"):
        assert (workplace / "web" / file).read_bytes() == (workplace / "folder" / file).read_bytes()
    assert sorted(p.name for p in (workplace / "web").iterdir()) == [
        "eurosat.json",
        "eurosat.one_to_one.json",
    ]


def test_lists_without_names_are_never_taken_in_an_order_that_nobody_named(
    command: Callable[..., Any], archive: Path, workplace: Path
) -> None:
    """Texts of another class would give an accuracy that looks like a bad method."""
    answer = command("texts", "import", "authors", archive, "-d", "eurosat")
    assert answer.code == 1
    assert (
        "eurosat: attribute/eurosat.pkl: 10 classes without names; --their-classes names"
        in answer.out
    )
    (classes := archive.parent / "class_name/eurosat.txt").write_text("Forest\nRiver\n")
    answer = command(
        "texts", "import", "authors", archive, "-d", "eurosat", "--their-classes", classes.parent
    )
    assert "10 classes, but 2 names for them" in answer.out
    assert not (workplace / "data").exists()


def test_names_in_the_synonyms_give_the_order_of_the_lists(tmp_path: Path) -> None:
    """The authors' code reads class i of every list with the same i."""
    names = spelt("eurosat")
    saved(tmp_path / "attribute/eurosat.pkl", [[f"mark of {n}"] for n in names])
    saved(tmp_path / "synonym/eurosat.json", [{"class": n, "syno": []} for n in names])
    (found,) = authors.import_all(tmp_path)
    assert found.texts is not None, found.lines
    assert [c.attribute for c in found.texts.classes] == [[f"mark of {n}"] for n in names[::-1]]


def test_what_does_not_fit_is_named_and_not_imported(
    command: Callable[..., Any], archive: Path, workplace: Path
) -> None:
    """A misspelt class would silently have no texts."""
    classes = archive.parent / "class_name"
    lines = (classes / "DTD.txt").read_text().replace("zigzagged", "zig zag")
    (classes / "DTD.txt").write_text(lines)
    call = ["texts", "import", "authors", archive, "-d", "dtd", "--their-classes", classes]
    answer = command(*call)
    assert answer.code == 1
    assert "dtd: without some kind of text (1): 'zigzagged'" in answer.out
    assert "'zig zag' is not a class of the data set" in answer.out
    assert not (workplace / "data").exists()
    renamed = command(*call, "--rename", "zig zag=zigzagged")
    assert renamed.code == 0, renamed.out + renamed.err


def test_a_malicious_pickle_in_the_archive_does_nothing(tmp_path: Path) -> None:
    """Opening it as the published code does would run whatever is in it."""
    mark = tmp_path / "ran"
    saved(
        tmp_path / "synonym/eurosat.json", [{"class": n, "syno": ["x"]} for n in spelt("eurosat")]
    )
    (tmp_path / "attribute").mkdir()
    (tmp_path / "attribute/eurosat.pkl").write_bytes(pickle.dumps([["fine"], Evil(mark)]))
    (found,) = authors.import_all(tmp_path)
    assert found.texts is not None
    assert {len(c.attribute) for c in found.texts.classes} == {0}
    assert "attribute is not imported: " in found.lines[0]
    assert "refused" in found.lines[0]
    assert not mark.exists()


def test_a_broken_file_loses_its_kind_alone(tmp_path: Path) -> None:
    """One cut-off pickle of the published copy cost all texts of the 37 pets."""
    names = entry("oxford_pets").class_names()
    saved(tmp_path / "simile_class/oxford-pet.pkl", {n: [f"cousin of {n}"] for n in names})
    (tmp_path / "attribute").mkdir()
    (tmp_path / "attribute/oxford_pets.pkl").write_bytes(b"")
    (found,) = authors.import_all(tmp_path)
    assert found.texts is not None
    assert [c.analogous for c in found.texts.classes] == [[f"cousin of {n}"] for n in names]
    assert "attribute is not imported" in found.lines[0]
    assert "no usable file of: attribute, synonym, one_to_one" in found.lines[1]
    (tmp_path / "simile_class/oxford-pet.pkl").write_bytes(b"")
    (found,) = authors.import_all(tmp_path)
    assert found.texts is None
    assert "analogous is not imported" in found.lines[0]


def test_a_class_under_two_names_in_a_pair_file_gets_the_texts_of_both(tmp_path: Path) -> None:
    """EuroSAT's pairs are under CLIP's names and the authors' own: it did not import at all."""
    saved(
        tmp_path / "ovo_attribute/eurosat.json",
        {
            "highway": {"river": ["lanes"]},
            "Highway or Road": {"River": ["cars", "lanes"]},
            "River": {"highway": ["water"]},
        },
    )
    (found,) = authors.import_all(tmp_path, partial=True)
    assert found.pairs is not None
    (pair,) = found.pairs.pairs
    assert {pair.a, pair.b} == {"Highway or Road", "River"}
    assert sorted([sorted(pair.a_not_b), sorted(pair.b_not_a)]) == [["cars", "lanes"], ["water"]]


def test_the_published_copy_imports_without_flags(shared: Path) -> None:
    """Nine of 13 data sets did, and one kind of text is truly broken there."""
    folder = shared / "data/authors_texts"
    if not folder.is_dir():
        pytest.skip("the authors' archive is not here")
    found = list(authors.import_all(folder / "expert_knowledge", theirs=folder / "classes"))
    assert len(found) == 13
    assert [one.dataset for one in found if one.texts is None] == []
    without = {one.dataset for one in found for line in one.lines if "is not imported" in line}
    assert without == {"oxford_pets"}
    # without attributes in the archive itself: five dishes
    food = next(one.texts for one in found if one.dataset == "food101")
    assert food is not None
    assert [c.name for c in food.classes if not c.attribute] == [
        "donuts", "french_fries", "fried_calamari", "mussels", "oysters",
    ]  # fmt: skip


def test_two_files_of_one_data_set_are_not_guessed_between(tmp_path: Path) -> None:
    saved(tmp_path / "attribute/DTD.pkl", [["a"]])
    saved(tmp_path / "attribute/dtd.pkl", [["b"]])
    (found,) = authors.import_all(tmp_path)
    assert found.lines == ["attribute: DTD.pkl and dtd.pkl are both of 'dtd', and differ; keep one"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["nothing.zip"], "no file nothing.zip"),
        (["junk.zip"], "damaged or not an archive"),
        (["."], "none of the folders attribute, simile_class, synonym, ovo_attribute is in it"),
        (["junk.zip", "--classes", "x"], "--their-classes"),
        (["junk.zip", "--rename", "a=b"], "name it with --dataset"),
        (["kinds", "--their-classes", "no/folder"], "no such folder"),
        (["kinds", "-d", "dtd"], "nothing for data set 'dtd'"),
    ],
)
def test_bad_input_is_one_line(
    command: Callable[..., Any], workplace: Path, options: list[str], says: str
) -> None:
    Path("junk.zip").write_bytes(b"PK junk")
    (workplace / "kinds").mkdir()
    if options[0] == "kinds":
        saved(workplace / "kinds/attribute/eurosat.pkl", [["a"]])
    answer = command("texts", "import", "authors", *options)
    assert answer.code == 1
    assert says in answer.err
    assert answer.err.count("\n") == 1
    assert not (workplace / "data").exists()


def test_the_page_that_shows_the_archive_is_not_taken_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The authors' README links to this page."""
    asked = []

    def refuse(address: str, *_: Any) -> None:
        asked.append(address)
        raise UserError("no network")

    monkeypatch.setattr(authors, "fetch", refuse)
    identifier = "1qOjqfWgJyUWgxhVhafW7G6qDCmahamVs"
    page = f"https://drive.google.com/file/d/{identifier}/view?usp=drive_link"
    with pytest.raises(UserError, match="no network"), authors.opened(page):
        pass
    assert asked == [authors.ADDRESS]


def test_the_authors_names_of_data_sets_are_known() -> None:
    """Of their scripts: exp_zero_shot.sh, and `dataset` of configs/*.yaml."""
    theirs = [
        "eurosat",
        "CUB200",
        "DTD",
        "food-101",
        "caltech-101",
        "oxford-pet",
        "places-365",
        "ImageNet",
    ]
    theirs += ["Aircraft", "oxford_flowers", "stanford_cars", "sun397", "ucf101"]
    found = [authors.dataset_of(stem) for stem in theirs]
    assert None not in found
    assert len(set(found)) == len(theirs)
    assert set(found) <= set(PUBLISHED)


def test_the_configuration_runs_the_paper_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both configurations must differ in texts alone."""
    monkeypatch.chdir(REPO)
    own, theirs = (load_config(f"config/{name}.yaml") for name in ("paper", "paper_authors_texts"))
    assert list(own.datasets) == list(theirs.datasets)
    assert own.models == theirs.models
    assert own.adapter == theirs.adapter
    assert own.features == theirs.features
    for name, dataset in theirs.datasets.items():
        texts = "imagenet" if name == "imagenet_v2" else name
        assert dataset.text_source(name) == authors_path(f"{texts}.json")
        assert dataset.one_to_one in (None, authors_path(f"{texts}.one_to_one.json"))
        without = {"texts": None, "one_to_one": None}
        assert dataset.model_copy(update=without) == own.datasets[name].model_copy(update=without)
    ignored = (REPO / ".gitignore").read_text().splitlines()
    assert "/data/texts/authors/" in ignored, "no licence allows publishing them"


def authors_path(file: str) -> Path:
    return Path("data/texts/authors") / file
