"""What an edited text set changes: the quick way gives what classifying again gives."""

from __future__ import annotations

import pytest
import torch

from coder_clip.evaluation.estimates import estimate
from coder_clip.texts.sets import ClassTexts, TextSet
from coder_clip_photos import Classifier
from coder_clip_photos.study import Study
from tiny import save_tiny

CLASSES = [
    ClassTexts(
        name="cat",
        attribute=["whiskers", "soft fur"],
        analogous=["fox"],
        synonym=["kitten", "tomcat"],
    ),
    ClassTexts(name="dog", attribute=["a long snout"]),
    ClassTexts(name="egg"),
]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Photos whose features lie near texts, so that each text matters to some."""
    folder = tmp_path_factory.mktemp("study")
    c = Classifier(
        str(save_tiny(folder / "tiny")), TextSet(dataset="pets", classes=CLASSES), cache=False
    )
    generator = torch.Generator().manual_seed(2)
    centre = c.scoring.features.mean(dim=0)
    near = (c.scoring.features - centre).repeat(30, 1)
    x = centre + near + 0.8 * near.std() * torch.randn(near.shape, generator=generator)
    labels = c.scoring.owner.repeat(30)
    return Study(c, x, [str(i) for i in range(len(x))], labels)


def test_an_edit_scores_only_the_edited_classes_and_gives_the_same(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a thousand classes again would take seconds per key stroke; another number would be
    wrong.
    """
    edited = [*CLASSES[:2], CLASSES[2].model_copy(update={"attribute": ["a shell"]})]
    texts = study.start.texts.model_copy(update={"classes": edited})
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


def test_near_twins_are_one_photo_in_all_that_is_said_of_texts(study: Study) -> None:
    """With three shots of each scene, a text would be clearly useful after a third of the
    evidence.
    """
    groups = torch.arange(len(study.names)) // 15
    first = Classifier(study.encoder, study.start.texts, templates=study.templates)
    grouped = Study(first, study.features, study.names, study.labels, groups)
    assert grouped.start.accuracy == estimate(study.start.correct, groups=groups)
    assert grouped.start.accuracy != study.start.accuracy
