"""Classifiers that are kept: in another process, for a second call, in one file; stage two and
probabilities.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from coder_clip.errors import UserError
from coder_clip.foundation.artifacts import write_json
from coder_clip.rerank import OneToOne, rerank
from coder_clip.texts.sentences import pair_sentences
from coder_clip.texts.sets import load_pair_set
from coder_clip_photos import Classifier
from coder_clip_photos.decisions import StageTwo, by_rerank, by_score, fit_scale
from coder_clip_photos.encoding import PhotoEncoder
from coder_clip_photos.texts import pair_texts
from reference import grid_error
from tiny import save_tiny

pytestmark = pytest.mark.usefixtures("own_cache")


# ---- devices and processes


def test_a_device_that_is_not_there_is_named(model: Path) -> None:
    c = Classifier(str(model), ["cat", "dog"], device="cpu")
    assert c.encoder.encoder.device == torch.device("cpu")
    with pytest.raises(UserError, match="this encoder has one"):
        Classifier(c.encoder, ["cat", "dog"], device="cpu")
    with pytest.raises(UserError, match="device 'cuda:77' is not on this machine"):
        Classifier(str(model), ["cat", "dog"], device=torch.device("cuda", 77))


@pytest.mark.rest
@pytest.mark.parametrize("cache", [True, False])
def test_another_process_gives_the_same_answers(
    model: Path, texts: Path, photos: list[Path], tmp_path: Path, cache: bool
) -> None:
    """A loaded encoder cannot be sent, and its locks neither."""
    c = Classifier(str(model), texts, cache=cache)
    c.stages = pair_stages(c, tmp_path / "pairs.json")
    fresh = pickle.dumps(c)
    expected = c.classify(photos, why=3)
    assert len(pickle.dumps(c)) < len(fresh) + 50_000, "without the encoder"
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        elsewhere = pool.submit(c.classify, photos, why=3).result()
    for found in (elsewhere, pickle.loads(fresh).classify(photos, why=3)):
        for photo, other in zip(found, expected, strict=True):
            assert photo.label == other.label
            assert photo.score == pytest.approx(other.score, abs=1e-3)
            assert [r.text for r in photo.reasons_for] == [r.text for r in other.reasons_for]


def test_a_copy_refuses_other_weights(model: Path, photos: list[Path], tmp_path: Path) -> None:
    """Its texts were encoded with the old ones."""
    mine = tmp_path / "mine"
    shutil.copytree(model, mine)
    c = Classifier(str(mine), ["cat", "dog"], cache=False)
    c.classify(photos[0])
    copy = pickle.loads(pickle.dumps(c))
    save_tiny(mine, seed=1)
    with pytest.raises(UserError, match="have changed since texts were encoded"):
        copy.classify(photos[1])


# ---- the second call


def test_a_second_call_loads_no_encoder(
    model: Path, texts: Path, photos: list[Path], request: pytest.FixtureRequest
) -> None:
    first = Classifier(str(model), texts).classify(photos, why=3)
    request.getfixturevalue("unloadable")
    again = Classifier(str(model), texts)
    assert again.classify(photos, why=3) == first
    renamed = photos[0].rename(photos[0].with_name("renamed.png"))
    assert again.classify(renamed).score == first[0].score, "known by its content"
    # it has no feature to keep, and made every call load the encoder
    photos[1].write_bytes(b"not a photo")
    assert [path for path, _ in again.encoder.photos(photos[1:]).skipped] == [str(photos[1])]


def test_without_a_cache_folder_everything_works(
    model: Path,
    photos: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(Classifier(str(model), ["cat", "dog"]).classify(photos)) == len(photos)
    assert "features are not kept" in caplog.text


def test_copies_of_a_photo_are_encoded_once(
    model: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = photos[0].with_name("copy.png")
    shutil.copy(photos[0], copy)
    c = Classifier(str(model), ["cat", "dog"])
    seen: list[int] = []
    encode = PhotoEncoder.pixels

    def counted(self: PhotoEncoder, pixels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(PhotoEncoder, "pixels", counted)
    found = c.classify([*photos, copy])
    assert sum(seen) == len(photos)
    assert found[-1].score == found[0].score


def pair_stages(c: Classifier, path: Path) -> StageTwo:
    """Stage two as a run makes it: every sentence of a pair encoded, one difference of means for
    each pair.
    """
    one, two, three = c.classes
    whiskers = ["long whiskers", "slit pupils"]
    entries = [
        {"a": one, "b": two, "a_not_b": whiskers, "b_not_a": ["a long snout"]},
        {"a": one, "b": three, "a_not_b": whiskers[:1], "b_not_a": ["red fur", "a bushy tail"]},
        {"a": two, "b": three, "a_not_b": ["a collar"]},
    ]
    write_json(path, {"format": 1, "dataset": "pets", "pairs": entries})
    given = load_pair_set(path, "pets", c.classes)
    (templates,) = c.templates
    ordered = pair_sentences(given, templates)
    texts = pair_texts(given, templates)
    assert {t.sentence for t in texts} == {
        *ordered[0, 1],
        *ordered[1, 0],
        *ordered[0, 2],
        *ordered[2, 0],
    }
    pairs = OneToOne({p: c.encoder.texts(s) for p, s in ordered.items()}, 3)
    return StageTwo(pairs=pairs, pair_texts=texts, threshold=1.1, top_k=3)


# ---- one file


def test_an_exported_file_gives_the_same_answers(
    model: Path, texts: Path, photos: list[Path], tmp_path: Path
) -> None:
    c = Classifier(str(model), texts)
    c.stages = replace(pair_stages(c, tmp_path / "pairs.json"), scale=0.7)
    expected = c.classify(photos, why=3)
    assert any(p.reranked for p in expected)
    c.export(tmp_path / "marks.safetensors")
    texts.unlink()
    assert Classifier.load(tmp_path / "marks.safetensors").classify(photos, why=3) == expected

    elsewhere = tmp_path / "elsewhere" / model.name
    shutil.copytree(model, elsewhere)
    moved = Classifier.load(tmp_path / "marks.safetensors", model=str(elsewhere))
    assert moved.classify(photos, why=3) == expected
    save_tiny(elsewhere, seed=5)
    with pytest.raises(UserError, match="another encoder"):
        Classifier.load(tmp_path / "marks.safetensors", model=str(elsewhere))


def test_other_files_are_no_exports(model: Path, tmp_path: Path) -> None:
    """Another ending would promise another format."""
    with pytest.raises(UserError, match=r"ends in \.safetensors"):
        Classifier(str(model), ["cat", "dog"]).export(tmp_path / "x.pt")
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"not a file that Classifier\.export"):
        Classifier.load(tmp_path / "x.safetensors")


# ---- stage two and probabilities


def test_none_of_these_compares_the_number_that_is_shown(
    model: Path, texts: Path, photos: list[Path], tmp_path: Path
) -> None:
    """All reranked photos became "none of these", by a probability of stage one that no one could
    see.
    """
    c = Classifier(str(model), texts)
    both = pair_stages(c, tmp_path / "pairs.json")
    for threshold, scale in itertools.product((0.0, 1.1), (0.7, None)):
        c.stages = replace(both, threshold=threshold, scale=scale)
        before = c.classify(photos)
        assert all(p.reranked == (threshold > 0) for p in before)
        shown = [p.score if scale is None else p.probability for p in before]
        assert (set(shown) == {None}) == (threshold > 0 and scale is not None)
        for below in [0.999, *(n + more for n in shown if n is not None for more in (0, 1e-9))]:
            found = c.classify(photos, none_below=below)
            for number, p, q in zip(shown, before, found, strict=True):
                too_low = number is not None and number < below
                assert q.label == (None if too_low else p.label)


def test_stage_two_is_the_rerank() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(40, 8, generator=generator)
    scores = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    both = [(a, b) for a, b in itertools.permutations(range(6), 2) if {a, b} != {0, 1}]
    pairs = OneToOne({p: torch.randn(2, 8, generator=generator) for p in both}, n_classes=6)
    expected, looked_at = rerank(x, scores, pairs, threshold=0.3, top_k=4)
    found = by_rerank(x, scores, pairs, 0.3, 4)
    assert torch.equal(found.order[:, 0], expected)
    assert torch.equal(found.reranked, looked_at)
    assert (found.order.sort(dim=1).values == torch.arange(6)).all(), "each class once"
    assert 5 < int((expected != scores.argmax(dim=1)).sum()) < 40
    alone = by_score(scores)
    assert torch.equal(found.order[~looked_at], alone.order[~looked_at])
    # without texts stage one has the last word, and no photo is called reranked
    found = by_rerank(x, scores, OneToOne({}, n_classes=6), 1.0, 4)
    assert not found.reranked.any()
    assert torch.equal(found.order, alone.order)


def test_pairs_without_their_texts_decide_without_reasons(model: Path, tmp_path: Path) -> None:
    """As in a file that was exported from a run in the setting as_published."""
    c = Classifier(str(model), ["cat", "dog", "red fox"])
    c.stages = replace(pair_stages(c, tmp_path / "pairs.json"), pair_texts=())
    (photo,) = c.classify(torch.ones(1, 16), why=3)
    assert photo.reranked
    assert photo.reasons_for == photo.reasons_against == ()


def test_probabilities_say_how_often_they_are_right() -> None:
    """Labels drawn from softmax(0.3 × scores): the factor is found again."""
    generator = torch.Generator().manual_seed(0)
    scores = 8 * torch.randn(4000, 5, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(torch.softmax(0.3 * scores, dim=1), 1, generator=generator)[:, 0]
    scale = fit_scale(scores, labels)
    assert scale == pytest.approx(0.3, abs=0.02)
    sure = torch.softmax(scores * scale, dim=1).max(dim=1).values
    right = (scores.argmax(dim=1) == labels).double()
    assert float(sure.mean()) == pytest.approx(float(right.mean()), abs=0.02)
    never = torch.full((4000, 1), -torch.inf, dtype=torch.float64)  # a class without a shot
    assert fit_scale(torch.cat([scores, never], dim=1), labels) == pytest.approx(scale, abs=0.005)


def test_few_labels_give_no_probabilities_and_no_mistake_no_certainty() -> None:
    scores = torch.eye(2, dtype=torch.float64).repeat(20, 1) * 10
    labels = torch.tensor([0, 1] * 20)
    assert fit_scale(scores[:28], labels[:28]) is None
    scale = fit_scale(scores, labels)
    assert scale is not None
    assert float(torch.softmax(scores[0] * scale, dim=0)[0]) < 0.99


def test_one_to_one_texts_are_reasons_and_sum_to_what_decided(model: Path, tmp_path: Path) -> None:
    c = Classifier(str(model), ["cat", "dog", "red fox"])
    c.stages = pair_stages(c, tmp_path / "pairs.json")
    x = torch.randn(20, 16, generator=torch.Generator().manual_seed(1))
    decided = c.decide(x)
    assert len(set(decided.order[:, 0].tolist())) == 3
    error = 100 * 8 * grid_error(16, rows=1)  # differences have three bits fewer than other rows
    for i, photo in enumerate(c.classify(x, why=99)):
        reasons = (*photo.reasons_for, *photo.reasons_against)
        assert photo.reranked
        assert len({(r.label, r.text) for r in reasons}) == len(reasons), "a text is one reason"
        assert math.fsum(r.adds for r in reasons) == pytest.approx(
            float(decided.values[i].max()), abs=error
        )
        assert {r.kind for r in reasons} == {"one_to_one"}
        assert "a collar" not in {r.text for r in reasons}, (
            "the other side has no text: the pair counts for nothing"
        )
        assert all(-1 <= r.cosine <= 1 for r in reasons)
