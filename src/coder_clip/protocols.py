"""The three settings reported side by side, what each bug and leak does alone, and the constants the authors published.

``as_published`` keeps the bugs and the selection of the published code, ``corrected`` mends the bugs and
keeps the selection, ``clean`` also chooses nothing on test data. Where they differ, and why, stands here and
nowhere else.

Mended in every setting, because the published code cannot run otherwise or its own runs do not meet them: the
rerank that does nothing in float32 (the published runs are in half precision), crashes on a single image or
fewer than five classes, caches of another backbone, and the text generator's retries (texts come from files).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Setting:
    """One way to run the method; REASONS says why each field exists.

    A published gate that reads labels changes the reported count of reranked images, not accuracy: the new
    pick is one of the same top five.
    """

    name: str
    synonyms_reach_clip: bool
    underscores_in_names_only: bool
    class_names_as_published: bool
    one_to_one_as_published: bool
    gate_reads_labels: bool
    rerank_threshold: Literal["published", "validation", "test"]
    adapter_selection: Literal["best_of_two_on_test", "validation", "test"]
    reranks: bool = True

    @property
    def published_texts(self) -> bool:
        """Whether stage one's texts are as published."""
        return not self.synonyms_reach_clip or self.underscores_in_names_only or self.class_names_as_published


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            name="as_published",
            synonyms_reach_clip=False,
            underscores_in_names_only=True,
            class_names_as_published=True,
            one_to_one_as_published=True,
            gate_reads_labels=True,
            rerank_threshold="published",
            adapter_selection="best_of_two_on_test",
        ),
        Setting(
            name="corrected",
            synonyms_reach_clip=True,
            underscores_in_names_only=False,
            class_names_as_published=False,
            one_to_one_as_published=False,
            gate_reads_labels=False,
            rerank_threshold="published",
            adapter_selection="best_of_two_on_test",
        ),
        Setting(
            name="clean",
            synonyms_reach_clip=True,
            underscores_in_names_only=False,
            class_names_as_published=False,
            one_to_one_as_published=False,
            gate_reads_labels=False,
            rerank_threshold="validation",
            adapter_selection="validation",
        ),
    )
}

REASONS = {
    "synonyms_reach_clip": "The published code passes the synonym as the class name while the template reads "
    "another argument, so every synonym becomes the name template with the class 'None'.",
    "underscores_in_names_only": "The published code turns underscores into spaces in name texts only; "
    "attribute and analogous texts keep them.",
    "class_names_as_published": "The authors' texts call some classes otherwise than their prompts and everybody "
    "else do: three of Caltech-101 (“Leopards”), all of Stanford Cars (the year last).",
    "one_to_one_as_published": "The published one-to-one texts keep underscores and the authors' class names, and "
    "DTD's templates lack a comma: three instead of four, the first two glued together.",
    "gate_reads_labels": "The published gate also asks that the true label is among the top five. Accuracy "
    "is the same, but the count of reranked images is not, and unlabelled images cannot be predicted.",
    "rerank_threshold": "The published thresholds are fixed per data set with no validation split to choose "
    "them on; 'validation' chooses on the validation split (a data set without one keeps 0.1).",
    "adapter_selection": "The published few-shot number is the better of two test accuracies, with the "
    "initial and with the searched hyper-parameters; 'validation' takes the pair searched on the validation "
    "split and looks at the test split once.",
    "reranks": "In float32 the published rerank changes nothing: an error is caught and every comparison counts 0. "
    "The published runs are in half precision, so every setting reranks.",
}


@dataclass(frozen=True)
class Flaw:
    """One bug or leak alone: ``clean`` with it put in. leak: test data decide something; else a bug."""

    title: str
    leak: bool
    setting: Setting


def _flaw(title: str, leak: bool = False, **changed: Any) -> Flaw:
    return Flaw(title, leak, replace(SETTINGS["clean"], name=title, **changed))


FLAWS = {
    "synonyms": _flaw("synonyms reach CLIP as “None”", synonyms_reach_clip=False),
    "underscores": _flaw("underscores stay in attribute and analogous texts", underscores_in_names_only=True),
    "class_names": _flaw("class names of the authors' lists", class_names_as_published=True),
    "one_to_one": _flaw(
        "one-to-one texts keep underscores; DTD's miss a comma", one_to_one_as_published=True
    ),
    "no_rerank": _flaw("the rerank does nothing (in float32)", reranks=False),
    "gate_reads_labels": _flaw("the rerank's gate reads labels", True, gate_reads_labels=True),
    "published_threshold": _flaw("threshold as published", True, rerank_threshold="published"),
    "test_threshold": _flaw("threshold chosen on the test split", True, rerank_threshold="test"),
    "best_of_two": _flaw("better of two test accuracies", True, adapter_selection="best_of_two_on_test"),
    "test_search": _flaw("α and β searched on the test split", True, adapter_selection="test"),
}

SYNONYM_AS_PUBLISHED = "None"  # what the name template is filled with instead of a synonym

# utils.py of YCaigogogo/CVPR24-CODER, get_thres
PUBLISHED_THRESHOLDS = {
    "imagenet": 0.1,
    "imagenet_v2": 0.05,
    "places365": 0.1,
    "caltech101": 0.3,
    "dtd": 0.6,
    "cub200": 0.2,
    "eurosat": 0.3,
    "food101": 0.1,
    "oxford_pets": 0.1,
}

# configs/*.yaml of YCaigogogo/CVPR24-CODER at commit 1501735: (init_alpha, init_beta). They look tuned.
PUBLISHED_INITIAL = {
    "caltech101": (100.0, 24.76),
    "dtd": (2.57, 30.18),
    "eurosat": (1.73, 91.34),
    "fgvc_aircraft": (9.775, 96.0),
    "food101": (1.0, 1.0),
    "imagenet": (1.66, 72.0),
    "oxford_flowers": (4.37, 38.0),
    "oxford_pets": (1.0, 26.0),
    "stanford_cars": (1.5, 23.5),
    "sun397": (1.18, 43.57),
    "ucf101": (2.0, 49.51),
}

# For a data set the authors did not publish values for. Ours, untuned: both terms as they are.
DEFAULT_THRESHOLD = 0.1
DEFAULT_INITIAL = (1.0, 1.0)
