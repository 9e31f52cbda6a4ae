"""The claims that a run tests, and the rules by which it judges them.

Each claim names its statement, the comparison that tests it, what is measured, and what would
contradict it; tables and the page read them from here. The rules are the same for every run.
Earlier results of the embedded default were known when they were written, and none of a published
data set with CLIP.

A claim compares two methods on the same test images (of few-shot methods: and seeds), in the
setting ``clean``, with the largest number of shots. Its verdict is `evaluation.intervals.clear` of
the difference, and nothing else:

    shown           the difference is clearly above 0
    contradicted    it is clearly below 0
    open            it is neither
    not judged      few-shot methods with fewer than three seeds, or a mean of two data sets
    off             the run has nothing to compare: no texts, or a rerank that changed nothing
    not run         the configuration leaves one of the two methods out

The re-evaluation says that CODER and TIP-X do *not* win against simple classifiers of image
features. Its claims are tested as "the simple one is better": contradicted where CODER or TIP-X
clearly wins, shown only where the simple one does, because a difference that was not seen does not
show that there is none. CLIP's logits help whoever has them, so
each comparison has two variants: both sides without them, and both sides with them. The simple side
with them is GDA: CLIP's logits plus α times the linear discriminant, with α chosen on validation
images.

Neither the paper nor the re-evaluation has a control for the texts: would other things do as well?
The controls are tested as "texts are better": the same description by images in place of texts, by
the same texts rotated at random, by random directions, and raw features after maps that need no
text. Their rules were written after exploratory numbers of true CLIP's features, and are the rules
of all claims; only the strength of whitening is chosen, on validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from .evaluation.intervals import LEVEL, clear

Verdict = Literal["shown", "contradicted", "open", "not judged", "off", "not run"]
Evidence = Literal["zero_shot", "few_shot", "neighbours", "texts"]

PAPER = "paper"
REEVALUATION = "Herzog & Wang"
CONTROLS = "this project"
SOURCES = {
    PAPER: "Yi et al., CVPR 2024, with the section",
    CONTROLS: "controls that ask whether anything else than texts would do; a description by "
    "images is known as relative representations (Moschella et al., ICLR 2023)",
    REEVALUATION: "“Reevaluating the Intra-Modal Misalignment Hypothesis in CLIP”, CVPR 2026, "
    "which says that CODER and TIP-X do not win against simple classifiers of image features",
}
SETTING = "clean"
FEWEST = 3  # seeds, and data sets of a mean: of two numbers no interval is short enough to tell
FEW_SEEDS = (
    "few-shot methods ran with one or two seeds, and other shots may give another difference: "
    "three are needed (adapter.seeds)"
)
TWO_DATA_SETS = (
    "two data sets cannot give a verdict on others (Student's t with one degree of freedom); three "
    "are needed"
)


@dataclass(frozen=True)
class Claim:
    """A claim and its test.

    name: in the CSV. statement: as tables show it. source: who makes the claim (SOURCES); for the
    paper with the section. evidence: the results that hold both sides. after, before: the two
    sides, names of methods, features or texts; the claim is that ``after`` is better. measure: of
    the comparison. contradicted: the result that would speak against the claim. vocabulary: only
    runs whose model brings a vocabulary test the claim. further: the same claim as the one before
    it, by another measure; only the table of controls shows it.
    """

    name: str
    statement: str
    source: str
    evidence: Evidence
    after: str
    before: str
    measure: str
    contradicted: str
    vocabulary: bool = False
    further: bool = False

    @property
    def uses_labels(self) -> bool:
        """True if a side was fitted to labelled images (shots)."""
        return self.evidence == "few_shot" or self.after == "discriminant"

    def stated(self, shots: int | None) -> str:
        """The statement; for a discriminant with the number of labelled images per class that it
        was fitted to.

        Few-shot methods all have the same shots, which the table says once.
        """
        if self.evidence == "few_shot" or not self.uses_labels or shots is None:
            return self.statement
        images = f"{shots} labelled image{'s' if shots != 1 else ''} per class"
        return self.statement.replace("discriminant", f"discriminant of {images}")


ACCURACY = "top-1 accuracy"
KNN = "vote of the k nearest other test images (k-NN)"
NEAREST = "nearest other test image of the same class"
R_PRECISION = "R-precision"
# measure of neighbours -> its name in the results, and in a statement
NEIGHBOUR_MEASURES = {
    KNN: ("knn", "k-NN"),
    NEAREST: ("nearest", "nearest"),
    R_PRECISION: ("r_precision", "R-precision"),
}


# One function per kind of claim, which sets the fields that all claims of the kind share.


def _zero_shot(name: str, statement: str, after: str, before: str, contradicted: str) -> Claim:
    """A claim of the paper about zero-shot methods."""
    source = f"{PAPER}, 3.4"
    return Claim(name, statement, source, "zero_shot", after, before, ACCURACY, contradicted)


def _few_shot(name: str, statement: str, before: str, contradicted: str) -> Claim:
    """A claim of the paper that the CODER-Adapter beats another few-shot method."""
    source = f"{PAPER}, 3.5"
    return Claim(
        name, statement, source, "few_shot", "coder_adapter", before, ACCURACY, contradicted
    )


def _texts(name: str, statement: str, after: str, before: str, contradicted: str) -> Claim:
    """A claim of the paper about the texts of stage one."""
    return Claim(name, statement, f"{PAPER}, 3.3", "texts", after, before, ACCURACY, contradicted)


def _kind(kind: str, named: str) -> Claim:
    """The claim that a kind of text adds to the others. named: the kind as a sentence begins."""
    return _texts(
        f"{kind}_adds",
        f"{named} add to CODER's other texts",
        "all kinds of text",
        f"all but {kind}",
        f"CODER without {named[0].lower()}{named[1:]} is clearly better",
    )


def _near(name: str, statement: str, measure: str, contradicted: str) -> Claim:
    """A claim of the paper that CODER finds better neighbours than original features."""
    source = f"{PAPER}, 3.2"
    return Claim(name, statement, source, "neighbours", "coder", "original", measure, contradicted)


def _simple(
    name: str, statement: str, evidence: Evidence, after: str, before: str, contradicted: str
) -> Claim:
    """A claim of the re-evaluation that a simple classifier of image features is better."""
    measure = KNN
    if evidence == "few_shot":
        measure = ACCURACY
    return Claim(name, statement, REEVALUATION, evidence, after, before, measure, contradicted)


def _control(name: str, stated: str, after: str, before: str, against: str) -> list[Claim]:
    """A claim of a control, by each measure of neighbours.

    stated: the statement without the measure; against: the subject of what would contradict it.
    """
    return [
        Claim(
            f"{name}_{key}",
            f"{stated} ({label})",
            CONTROLS,
            "neighbours",
            after,
            before,
            measure,
            f"{against} are clearly better",
            further=measure != KNN,
        )
        for measure, (key, label) in NEIGHBOUR_MEASURES.items()
    ]


CLAIMS = (
    _zero_shot(
        "coder_beats_clip",
        "CODER beats CLIP with names alone",
        "coder",
        "clip",
        "the names alone are clearly better",
    ),
    _zero_shot(
        "coder_beats_prompts",
        "CODER beats CLIP's prompt ensemble",
        "coder",
        "clip_ensemble",
        "the prompt ensemble is clearly better",
    ),
    _zero_shot(
        "coder_beats_attributes",
        "CODER beats averaged attribute texts",
        "coder",
        "description",
        "the averaged attribute texts are clearly better",
    ),
    _zero_shot(
        "coder_beats_random_words",
        "CODER's texts beat random words",
        "coder",
        "random_words",
        "random words are clearly better",
    ),
    _zero_shot(
        "rerank_adds",
        "The rerank adds to CODER",
        "coder_rerank",
        "coder",
        "CODER without the rerank is clearly better",
    ),
    _zero_shot(
        "descriptions_beat_names",
        "The mean of a class's descriptions beats CLIP with names alone",
        "sentence",
        "clip",
        "the names alone are clearly better",
    ),
    _texts(
        "more_texts",
        "More texts per class beat few (a quarter of each kind)",
        "all texts",
        "few texts",
        "few texts are clearly better",
    ),
    _texts(
        "diverse_texts",
        "Diverse texts beat as many similar ones of each kind",
        "diverse texts",
        "alike texts",
        "alike texts are clearly better",
    ),
    _kind("attribute", "Attributes"),
    _kind("analogous", "Analogous classes"),
    _kind("synonym", "Synonyms"),
    _few_shot(
        "adapter_beats_tip_adapter",
        "The CODER-Adapter beats Tip-Adapter",
        "tip_adapter",
        "Tip-Adapter is clearly better",
    ),
    _few_shot(
        "adapter_beats_tip_x",
        "The CODER-Adapter beats TIP-X",
        "tip_x",
        "TIP-X is clearly better",
    ),
    _few_shot("adapter_beats_ape", "The CODER-Adapter beats APE", "ape", "APE is clearly better"),
    _few_shot("adapter_beats_gda", "The CODER-Adapter beats GDA", "gda", "GDA is clearly better"),
    _few_shot(
        "coder_beats_features_in_adapter",
        "In the adapter, CODER beats raw image features",
        "raw_adapter",
        "the same adapter on raw features is clearly better",
    ),
    _near(
        "nearer_neighbours",
        "Neighbours by CODER beat those by raw features (k-NN)",
        KNN,
        "the neighbours by raw features are clearly better",
    ),
    _near(
        "better_retrieval",
        "Retrieval by CODER beats raw features (R-precision)",
        R_PRECISION,
        "retrieval by raw features is clearly better",
    ),
    _near(
        "corrected_neighbours",
        "CODER corrects more nearest neighbours than it breaks",
        NEAREST,
        "it breaks clearly more than it corrects",
    ),
    Claim(
        "many_texts_in_coder",
        "CODER by all names of a vocabulary beats CODER by 100 of them (k-NN)",
        f"{PAPER}, 3.2",
        "neighbours",
        "coder",
        "coder_few",
        KNN,
        "the neighbours by 100 texts are clearly better",
        vocabulary=True,
    ),
    Claim(
        "coder_beats_features_without_clip",
        "Without CLIP's logits, the CODER-Adapter beats one on raw image features",
        f"{PAPER}, 3.5",
        "few_shot",
        "coder_without_clip",
        "raw_without_clip",
        ACCURACY,
        "the adapter on raw features is clearly better, both without CLIP's logits",
        vocabulary=True,
    ),
    _simple(
        "discriminant_beats_adapter_without_clip",
        "Without CLIP's logits, a linear discriminant beats the CODER-Adapter",
        "few_shot",
        "lda",
        "coder_without_clip",
        "the CODER-Adapter is clearly better, both without CLIP's logits",
    ),
    _simple(
        "projection_beats_adapter_without_clip",
        "Without CLIP's logits, projected class means beat the CODER-Adapter",
        "few_shot",
        "projected_means",
        "coder_without_clip",
        "the CODER-Adapter is clearly better, both without CLIP's logits",
    ),
    _simple(
        "discriminant_beats_tip_x_without_clip",
        "Without CLIP's logits, a linear discriminant beats TIP-X",
        "few_shot",
        "lda",
        "tip_x_without_clip",
        "TIP-X is clearly better, both without CLIP's logits",
    ),
    _simple(
        "projection_beats_tip_x_without_clip",
        "Without CLIP's logits, projected class means beat TIP-X",
        "few_shot",
        "projected_means",
        "tip_x_without_clip",
        "TIP-X is clearly better, both without CLIP's logits",
    ),
    _simple(
        "discriminant_with_clip_beats_adapter",
        "With CLIP's logits, a linear discriminant (GDA) beats the CODER-Adapter",
        "few_shot",
        "gda",
        "coder_adapter",
        "the CODER-Adapter is clearly better",
    ),
    _simple(
        "projection_with_clip_beats_adapter",
        "With CLIP's logits, projected class means beat the CODER-Adapter",
        "few_shot",
        "projected_with_clip",
        "coder_adapter",
        "the CODER-Adapter is clearly better",
    ),
    _simple(
        "discriminant_with_clip_beats_tip_x",
        "With CLIP's logits, a linear discriminant (GDA) beats TIP-X",
        "few_shot",
        "gda",
        "tip_x",
        "TIP-X is clearly better",
    ),
    _simple(
        "projection_with_clip_beats_tip_x",
        "With CLIP's logits, projected class means beat TIP-X",
        "few_shot",
        "projected_with_clip",
        "tip_x",
        "TIP-X is clearly better",
    ),
    _simple(
        "projected_neighbours",
        "Neighbours by projected features beat those by CODER (k-NN)",
        "neighbours",
        "projected",
        "coder",
        "the neighbours by CODER are clearly better",
    ),
    _simple(
        "discriminant_neighbours",
        "Neighbours by a linear discriminant beat those by CODER (k-NN)",
        "neighbours",
        "discriminant",
        "coder",
        "the neighbours by CODER are clearly better",
    ),
    *_control(
        "texts_beat_other_images",
        "Neighbours by texts beat those by as many images of other data sets",
        "coder",
        "other_images",
        "neighbours by images of other data sets",
    ),
    *_control(
        "texts_beat_own_images",
        "Neighbours by texts beat those by as many images of the data set (or all)",
        "coder",
        "own_images",
        "neighbours by images of the data set",
    ),
    *_control(
        "texts_beat_rotated_texts",
        "Neighbours by texts beat those by the same texts rotated at random",
        "coder",
        "rotated_texts",
        "neighbours by rotated texts",
    ),
    *_control(
        "texts_beat_random_directions",
        "Neighbours by texts beat those by as many random directions",
        "coder",
        "random_directions",
        "neighbours by random directions",
    ),
    *_control(
        "texts_beat_centring",
        "Neighbours by texts beat those by centred raw features",
        "coder",
        "centred",
        "neighbours by centred raw features",
    ),
    *_control(
        "texts_beat_whitening",
        "Neighbours by texts beat those by whitened raw features",
        "coder",
        "whitened",
        "neighbours by whitened raw features",
    ),
    *_control(
        "names_beat_image_directions",
        "Projection on names beats projection on as many directions of images",
        "projected",
        "projected_images",
        "neighbours by features projected on directions of images",
    ),
)


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison: the difference (a share) with its 95 % interval, and a p-value.

    fixed, broke: number of images that became right, or wrong, with ``after``; summed over several
    seeds or draws."""

    difference: float
    low: float
    high: float
    p_value: float
    fixed: int | None = None
    broke: int | None = None


def verdict(test: Comparison) -> Verdict:
    """The verdict on a claim whose two sides were compared."""
    direction = clear({"low": test.low, "high": test.high})
    if direction == "better":
        return "shown"
    if direction == "worse":
        return "contradicted"
    return "open"


def over_data_sets(tests: Sequence[Comparison]) -> Comparison | None:
    """The mean of the differences on several data sets; None for fewer than two.

    The interval is for other data sets, each of which counts the same, however many images it has.
    It is that of a random-effects mean by Hartung and Knapp (2001) and Sidik and Jonkman (2002),
    which with equal weights is Student's t over the n differences, with n − 1 degrees of freedom.
    Their spread holds both parts of the variance: of data sets, and of images and seeds within
    each. So no error of a single data set enters, which three seeds tell poorly. At 95 % it is
    also valid where these errors differ from data set to data set (Ibragimov and Müller 2010). In
    simulations 2 to 6 % of equal pairs of methods are called clear (`test_null.py`)."""
    n = len(tests)
    if n < 2:
        return None
    differences = np.array([test.difference for test in tests])
    mean = float(differences.mean())
    deviation = float(differences.std(ddof=1))
    if np.ptp(differences) == 0:
        # Equal to the last bit, as of the same few images: a spread of 0 would be certain, so each
        # one's own interval counts, half of which is z standard errors.
        errors = np.array([test.high - test.low for test in tests]) / (2 * ndtri((1 + LEVEL) / 2))
        deviation = float((errors**2).mean() ** 0.5)
    error = deviation / n**0.5
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * error
    p_value = 1.0
    if error > 0:
        p_value = float(2 * stdtr(n - 1, -abs(mean) / error))
    return Comparison(mean, mean - half, mean + half, p_value)


def contested(found: Verdict, p_holm: float) -> bool:
    """True for a clear verdict that Holm's correction for all tests does not confirm."""
    return found in ("shown", "contradicted") and not isnan(p_holm) and p_holm >= 1 - LEVEL
