"""The kinds of text, declared once for all that uses them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of text (paper, section 3.3).

    counts: how CODER uses several texts of a class: their "mean", the best one ("max") or none
    (""). adapter: True if the CODER-Adapter describes images with texts of this kind. template: the
    name of their template (`datasets.base.Templates`); "": the text is the sentence. of_pair: True
    if the texts tell two classes apart. are_names: True if the texts name things, so that
    underscores are spaces. asked_for: number of texts that a language model is asked for; 0: this
    kind is not asked for. least: number of a model's texts that is enough; None: half of
    ``asked_for``.
    """

    name: str
    counts: str = ""
    adapter: bool = False
    template: str = ""
    of_pair: bool = False
    are_names: bool = False
    asked_for: int = 0
    least: int | None = None


KINDS = {
    kind.name: kind
    for kind in (
        Kind("name", counts="max", adapter=True, template="name", are_names=True),
        Kind("attribute", counts="mean", adapter=True, template="attribute", asked_for=10),
        Kind(
            "analogous",
            counts="mean",
            adapter=True,
            template="analogous",
            are_names=True,
            asked_for=5,
            least=1,  # there may be no more
        ),
        Kind(
            "synonym",
            counts="max",
            template="name",
            are_names=True,
            asked_for=5,
            least=0,  # that there is none is an answer
        ),
        Kind("sentence"),  # whole, of a baseline (CuPL)
        Kind("one_to_one", template="one_to_one", of_pair=True, asked_for=5),
    )
}
# lists of texts of a class, besides its name
OF_CLASS = tuple(k.name for k in KINDS.values() if not k.of_pair and k.name != "name")
IN_CODER = tuple(k.name for k in KINDS.values() if k.counts)
BESIDES_NAME = tuple(name for name in IN_CODER if name != "name")
MEAN_KINDS = tuple(k.name for k in KINDS.values() if k.counts == "mean")
MAX_KINDS = tuple(k.name for k in KINDS.values() if k.counts == "max")
ADAPTER_KINDS = tuple(k.name for k in KINDS.values() if k.adapter)
ASKED_FOR = {k.name: k.asked_for for k in KINDS.values() if k.asked_for}
