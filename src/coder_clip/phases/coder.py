"""Phase coder: the compact CODER of a data set (paper, section 3.2; docs/method.md)."""

from __future__ import annotations

from pathlib import Path

from ..foundation.artifacts import read_tensors, write_tensors
from ..neighbors import MAX_KINDS, MEAN_KINDS, TextNeighbors
from ..protocols import SETTINGS, Setting
from ..texts.sentences import AS_PUBLISHED, NAMES
from .common import SplitFeatures, belongs, use_threads
from .text_inputs import Texts, read_texts


def run(*, texts: str, out: str, threads: int) -> None:
    """Write the compact CODERs of a data set, as published and corrected: class sums, name
    features, Gram matrix.

    texts: text features.
    """
    use_threads(threads)
    read = read_texts(texts)
    tensors = {}
    # corrected has the same texts as clean, so clean stands for both
    for setting in (SETTINGS["clean"], SETTINGS["as_published"]):
        variant = _variant(uses_published_texts(setting.name))
        for key, tensor in text_neighbors(read, setting).state().items():
            tensors[f"{variant}.{key}"] = tensor
    meta = {key: read.meta[key] for key in ("model", "dataset", "classes", "encoder")}
    write_tensors(out, tensors, meta)


def text_neighbors(texts: Texts, setting: Setting) -> TextNeighbors:
    """The CODER of a setting, from the setting's texts, with those bugs of the published code that
    the setting keeps.
    """
    n_classes = len(texts.meta["classes"])
    return TextNeighbors(
        mean_texts=texts.per_class(MEAN_KINDS, n_classes, *text_tags(setting, *MEAN_KINDS)),
        max_texts=texts.per_class(MAX_KINDS, n_classes, *text_tags(setting, *MAX_KINDS)),
    )


def read_neighbors(
    file: str | Path, images: SplitFeatures, as_published: bool = False
) -> TextNeighbors:
    """Read the compact CODER of these images' model and data set.

    as_published: the variant with the published texts. UserError if the file was made for other
    features.
    """
    tensors, meta = read_tensors(file)
    belongs(Path(file), meta, images)
    # one file holds two variants, told apart by a prefix of the tensor names
    prefix = f"{_variant(as_published)}."
    return TextNeighbors.from_state(
        {k[len(prefix) :]: t for k, t in tensors.items() if k.startswith(prefix)}
    )


def text_tags(setting: Setting, *kinds: str) -> list[str]:
    """Tags of the published variants that a setting uses for these kinds of text."""
    tags = []
    if setting.class_names_as_published:
        tags.append(NAMES)
    # each kind has its own bug: synonyms do not reach CLIP, other texts keep underscores
    if "synonym" in kinds:
        has_bug = not setting.synonyms_reach_clip
    else:
        has_bug = setting.underscores_in_names_only
    if has_bug:
        tags.append(AS_PUBLISHED)
    return tags


def uses_published_texts(setting: str) -> bool:
    """True if a setting encodes the same texts as the published code, bugs included."""
    return SETTINGS[setting].published_texts


def _variant(as_published: bool) -> str:
    """The prefix of the tensor names of a variant."""
    if as_published:
        return "as_published"
    return "corrected"
