"""Synonyms from WordNet: the right sense, no crash without one, one line without a dictionary."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from coder_clip.errors import UserError
from coder_clip.texts.names import name_key
from coder_clip.texts.sources import wordnet
from coder_clip.texts.sources.wordnet import WordNet, places, synonyms
from small_wordnet import write


class Encoder:
    """The axes are words, so that it is clear which texts are close."""

    WORDS = ("heron", "bird", "heavy", "lifts", "crane")

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        rows = torch.tensor([[float(w in t.lower()) for w in self.WORDS] for t in texts]) + 1e-3
        return rows / rows.norm(dim=1, keepdim=True)


@pytest.fixture
def dictionary(tmp_path: Path) -> WordNet:
    return WordNet(write(tmp_path / "dict"))


def test_the_sense_is_the_one_whose_definition_is_closest(dictionary: WordNet) -> None:
    """Synonyms of a machine for a class of birds would pull in the wrong images."""
    encoder = Encoder()
    found = synonyms(["crane"], encoder, dictionary, prompt="a bird, the {}")
    assert found.texts == [["Grus"]]
    assert encoder.asked == [
        "a bird, the crane",
        "lifts and moves heavy objects",
        "long-necked wading bird",
    ]
    heavy = synonyms(["crane"], Encoder(), dictionary, prompt="{} lifts heavy")
    assert heavy.texts == [[]], "this sense has no other word"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Basset_Hound", "basset"), ("basset hound", "basset"), ("knives", "knife"), ("geese", "goose"),
        ("polka-dots", "polka dot"), ("laptops", "laptop"),
    ],
)  # fmt: skip
def test_names_are_found_however_they_are_spelled(
    dictionary: WordNet, name: str, words: str
) -> None:
    """Published, a name of two words finds nothing and the run crashes."""
    assert words in dictionary.senses(name)[0].words


def test_a_class_without_a_noun_sense_is_named_and_the_rest_goes_on(dictionary: WordNet) -> None:
    """Published, max() of an empty list ends the run."""
    found = synonyms(["striped", "basset_hound", "Sea or Lake"], Encoder(), dictionary)
    assert found.texts == [[], ["basset"], []]
    assert found.note["without_sense"] == ["striped", "Sea or Lake"]
    assert found.note["version"] == "3.0"


def test_the_name_of_another_class_is_no_synonym(dictionary: WordNet) -> None:
    """Both classes would score the same on the shared name."""
    found = synonyms(["laptop", "Notebook"], Encoder(), dictionary)
    assert found.texts == [[], []]
    assert found.note["another_class"] == ["laptop: notebook"]


def test_classes_of_one_name_share_their_synonyms(dictionary: WordNet) -> None:
    """ImageNet has two classes "missile": neither is another class to the other."""
    assert synonyms(["laptop", "laptop"], Encoder(), dictionary).texts == [
        ["notebook"],
        ["notebook"],
    ]


def test_a_single_sense_asks_no_encoder(dictionary: WordNet) -> None:
    encoder = Encoder()
    synonyms(["basset_hound", "knife"], encoder, dictionary)
    assert encoder.asked == []


def test_nltk_data_is_read_packed_as_it_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People with NLTK's dictionary need no other one."""
    write(tmp_path / "wordnet")
    (tmp_path / "nltk_data/corpora").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "nltk_data/corpora/wordnet.zip", "w") as archive:
        for path in (tmp_path / "wordnet").iterdir():
            archive.write(path, f"wordnet/{path.name}")
    monkeypatch.setenv("NLTK_DATA", str(tmp_path / "nltk_data"))
    monkeypatch.delenv("WNSEARCHDIR", raising=False)
    own = [p for p in places() if p.is_relative_to(tmp_path)]
    monkeypatch.setattr(wordnet, "places", lambda: own)
    assert WordNet().senses("crane")[1].words == ("Crane", "Grus")


def test_no_dictionary_is_one_line_that_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wordnet, "places", lambda: [tmp_path, tmp_path])
    with pytest.raises(UserError, match="apt-get install wordnet-base"):
        WordNet()


def test_a_named_folder_is_the_only_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group uses its own dictionary; another one in its place would give other synonyms without a
    word.
    """
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path))
    assert places() == [tmp_path]
    for named in (None, tmp_path):
        with pytest.raises(UserError, match=f"no index.noun in {tmp_path}"):
            WordNet(named)


def test_an_index_of_another_version_is_refused(tmp_path: Path) -> None:
    """Offsets into another file would give definitions of other words, silently."""
    folder = write(tmp_path)
    (folder / "data.noun").write_text("x" + (folder / "data.noun").read_text())
    with pytest.raises(UserError, match="of different versions"):
        WordNet(folder).senses("crane")


def test_spellings_of_one_name_share_a_key() -> None:
    assert name_key("English_Cocker-Spaniel") == name_key("english  cocker spaniel")
    assert name_key("boxer") != name_key("boxers")
