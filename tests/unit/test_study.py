"""What one text is worth: the quick way gives what classifying again without the text, or with it, gives."""

from __future__ import annotations

import statistics

import pytest
import torch

from coder_clip.errors import UserError
from coder_clip.evaluation.estimates import estimate
from coder_clip.photos import Classifier
from coder_clip.photos.study import Study, with_text
from coder_clip.texts.sets import ClassTexts, TextSet
from reference import grid_error
from tiny import save_tiny

CLASSES = [
    ClassTexts(
        name="cat", attribute=["whiskers", "soft fur"], analogous=["fox"], synonym=["kitten", "tomcat"]
    ),
    ClassTexts(name="dog", attribute=["a long snout"]),
    ClassTexts(name="egg"),
]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Photos whose features lie near texts, so that each text matters to some."""
    folder = tmp_path_factory.mktemp("study")
    c = Classifier(str(save_tiny(folder / "tiny")), TextSet(dataset="pets", classes=CLASSES), cache=False)
    generator = torch.Generator().manual_seed(2)
    centre = c.scoring.features.mean(dim=0)
    near = (c.scoring.features - centre).repeat(30, 1)
    x = centre + near + 0.8 * near.std() * torch.randn(near.shape, generator=generator)
    labels = c.scoring.owner.repeat(30)
    return Study(c, x, [str(i) for i in range(len(x))], labels)


def test_an_edit_scores_only_the_edited_classes_and_gives_the_same(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a thousand classes again would take seconds per key stroke; another number would be wrong."""
    texts = with_text(study.start.texts, 2, "attribute", "a shell")
    x = study.features[:7] * 2
    whole = Classifier(study.encoder, texts, templates=study.templates)
    expected, of_new = whole.decide(study.features), whole.decide(x)
    scored = []
    decide = Classifier.decide
    monkeypatch.setattr(Classifier, "decide", lambda c, x: scored.append(c.classes) or decide(c, x))
    found = study.standing(texts)
    assert scored == [["cat", "dog", "egg"]], "two more, because a classifier needs two classes"
    assert torch.equal(found.decisions.scores, expected.scores)
    assert torch.equal(found.decisions.order, expected.order)
    assert torch.equal(study.decide(texts, x).scores, of_new.scores)
    scored.clear()
    assert study.standing(study.start.texts).decisions.scores is study.start.decisions.scores
    assert scored == []


def without(texts: TextSet, index: int, kind: str, text: str) -> TextSet:
    entries = [
        c.model_copy(update={kind: [t for t in getattr(c, kind) if t != text]}) if i == index else c
        for i, c in enumerate(texts.classes)
    ]
    return texts.model_copy(update={"classes": entries})


def plain_lead(scores: torch.Tensor, labels: torch.Tensor | None) -> list[float]:
    assert labels is not None
    return [
        row[label] - max(s for c, s in enumerate(row) if c != label)
        for row, label in zip(scores.tolist(), labels.tolist(), strict=True)
    ]


def spread(study: Study, texts: TextSet) -> float:
    """Standard error of the mean change in lead."""
    now, then = (plain_lead(s.decisions.scores, study.labels) for s in (study.start, study.standing(texts)))
    changes = [a - b for a, b in zip(now, then, strict=True)]
    return statistics.stdev(changes) / len(changes) ** 0.5


def test_leaving_out_is_classifying_again_without(study: Study) -> None:
    found = study.leave_one_out()
    assert [(w.label, w.row.text) for w in sorted(found, key=lambda w: w.row.text)] == [
        *(("dog", "a long snout"), ("cat", "fox"), ("cat", "kitten"), ("cat", "soft fur"), ("cat", "tomcat")),
        ("cat", "whiskers"),
    ]
    changed = 0
    for w in found:
        again = study.standing(without(study.start.texts, w.row.index, w.row.kind, w.row.text))
        now, then = study.start.correct, again.correct
        assert w.test["fixed"] == int((now & ~then).sum()), w.row.text
        assert w.test["broke"] == int((then & ~now).sum()), w.row.text
        worth = float(now.double().mean() - then.double().mean())
        assert w.test["difference"]["value"] == pytest.approx(worth)
        scores = (study.start.decisions.scores, again.decisions.scores)
        leads = [plain_lead(s, study.labels) for s in scores]
        lead = sum(leads[0]) / len(leads[0]) - sum(leads[1]) / len(leads[1])
        assert w.lead["value"] == pytest.approx(lead, abs=100 * grid_error(16, rows=4))  # four class means
        assert w.lead["low"] < w.lead["value"] < w.lead["high"]
        changed += int((now != then).sum())
    assert changed > 10, "texts that change nothing would test nothing"
    values = [w.test["difference"]["value"] for w in found]
    assert values == sorted(values, reverse=True)
    student = 2.0  # about, for so many photos
    worth = found[0].lead
    assert worth["high"] - worth["value"] == pytest.approx(
        student
        * spread(study, without(study.start.texts, found[0].row.index, found[0].row.kind, found[0].row.text)),
        rel=0.03,
    )
    assert all(w.p_holm >= w.test["p_value"] for w in found)


def test_one_class_alone(study: Study) -> None:
    assert [w.row.text for w in study.leave_one_out("dog")] == ["a long snout"]
    with pytest.raises(UserError, match="did you mean 'dog'"):
        study.leave_one_out("dogs")


def test_adding_is_classifying_again_with(study: Study) -> None:
    (found,) = study.add_one("egg", "attribute", ["a smooth shell"])
    again = study.standing(with_text(study.start.texts, 2, "attribute", "a smooth shell"))
    assert found.test["fixed"] == int((again.correct & ~study.start.correct).sum())
    assert found.test["broke"] == int((study.start.correct & ~again.correct).sum())
    assert found.test["fixed"] + found.test["broke"] > 0
    with pytest.raises(UserError, match="'dog' has the attribute 'a long snout' already"):
        study.add_one("dog", "attribute", ["a long snout"])
    with pytest.raises(UserError, match="did you mean 'attribute'"):
        study.add_one("dog", "attributes", ["x"])


def test_near_twins_are_one_photo_in_all_that_is_said_of_texts(study: Study) -> None:
    """With three shots of each scene, a text would be clearly useful after a third of the evidence."""
    groups = torch.arange(len(study.names)) // 15
    first = Classifier(study.encoder, study.start.texts, templates=study.templates)
    grouped = Study(first, study.features, study.names, study.labels, groups)
    texts = with_text(study.start.texts, 2, "attribute", "a shell")
    for standing, plain in (
        (grouped.start, study.start),
        (grouped.standing(texts), study.standing(texts)),
    ):
        assert standing.accuracy == estimate(plain.correct, groups=groups)
        assert standing.accuracy != plain.accuracy
    assert study.labels is not None
    worths = {w.row: w for w in study.leave_one_out()}
    for worth in grouped.leave_one_out():
        plain_worth = worths[worth.row]
        assert worth.lead["value"] == plain_worth.lead["value"]
        assert worth.lead["low"] != plain_worth.lead["low"]
        if worth.test["fixed"] + worth.test["broke"]:
            assert worth.test["difference"]["low"] != plain_worth.test["difference"]["low"]
