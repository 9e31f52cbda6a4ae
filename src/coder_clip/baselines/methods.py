"""The methods: name, description, and line in figures, in the order of tables and legends.

Zero-shot methods are listed here; phases/zero_shot.py and phases/rerank.py compute them. A few-shot
method is one module in ``baselines/``, which declares, as literals::

    LABEL = "Tip-Adapter"
    ABOUT = "cache of image features, no training"   a phrase for the report
    ORDER = 10                                       its place among the others
    LINE = ("green", "-.", "^")                      colour, dashes, marker; default: an unused one
    ABLATION = True                                  only for a method with one thing changed
    VIEWS = 10                                       only for a method of single augmented views:
                                                     the most it uses

and defines ``fit`` (`baselines.few_shot.FewShotMethod`). Nothing else lists it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..foundation import scan
from . import CLIP_ENSEMBLE

Line = tuple[str, Any, str]  # colour of the palette, dashes, marker
BASELINES = Path(__file__).parent


@dataclass(frozen=True)
class Method:
    """How tables and figures show a method.

    label: in tables and legends. about: a phrase about the method. line: in figures; None: an
    unused one. order: among few-shot methods. ablation: another method with one thing changed.
    views: largest number of augmented views of a shot that the method uses one by one."""

    label: str
    about: str
    line: Line | None = None
    order: int = 0
    ablation: bool = False
    views: int = 0


# In the order of the paper: baselines, stage one, stage two.
ZERO_SHOT = {
    "clip": Method("CLIP", "the class name in one sentence", ("grey", "--", "s")),
    CLIP_ENSEMBLE: Method("CLIP, prompt ensemble", "the class name in several sentences, averaged"),
    "clip_templates": Method(
        "CLIP, 80 templates",
        "the class name in the 80 sentences that open_clip ships for ImageNet, averaged",
    ),
    "random_words": Method(
        "CLIP, random words",
        "attribute texts with the words of all of them shuffled, mean over several draws (after "
        "Roth et al. 2023)",
    ),
    "attributes_alone": Method(
        "Attributes alone, no name",
        "attribute texts without the class name, averaged: can the encoder read?",
        ("green", ":", "^"),
    ),
    "description": Method(
        "CLIP, attribute texts",
        "attribute texts of a class, averaged (as in Menon and Vondrick 2023)",
    ),
    "sentence": Method(
        "CLIP, CuPL-style sentences",
        "whole sentences about a class, averaged (as in Pratt et al. 2023)",
    ),
    "coder": Method(
        "CODER", "stage one: attributes, analogous classes, name and synonyms", ("blue", "-", "o")
    ),
    "coder_rerank": Method(
        "CODER + rerank",
        "stage two on top: texts that tell two classes apart",
        ("vermillion", "-.", "D"),
    ),
}


def _few_shot() -> dict[str, Method]:
    """Name -> method, of all modules in this folder that define one."""
    methods = {}
    for module in scan.modules(BASELINES):
        is_method = module.defines("fit")
        if not is_method and not module.defines("LABEL"):
            continue  # a module that several methods share
        label, about, order = module.required("LABEL", "ABOUT", "ORDER")
        if not is_method:
            raise ImportError(f"baseline '{module.name}' has no function fit")
        # constants that a module leaves out keep the defaults of Method
        optional = {key: module.get(key.upper()) for key in ("line", "ablation", "views")}
        given = {key: value for key, value in optional.items() if value is not None}
        methods[module.name] = Method(label, about, order=order, **given)

    def position(name: str) -> tuple[bool, int, str]:
        """Ablations last, then by ORDER; the name makes the order unique."""
        return methods[name].ablation, methods[name].order, name

    return {name: methods[name] for name in sorted(methods, key=position)}


_FEW_SHOT = _few_shot()
FEW_SHOT = {name: m for name, m in _FEW_SHOT.items() if not m.ablation}
# another method with one thing changed
ABLATIONS = {name: m for name, m in _FEW_SHOT.items() if m.ablation}
METHODS = {**ZERO_SHOT, **FEW_SHOT, **ABLATIONS}
LABELS = {name: m.label for name, m in METHODS.items()}
# methods that use the views of a shot one by one, not only their mean
USE_VIEWS = tuple(name for name, m in METHODS.items() if m.views)
# views of a shot that are kept one by one, as float16: 20 kB for ten views of 1024 channels
MOST_VIEWS = max((m.views for m in METHODS.values()), default=0)
