"""Notes below tables: the split, images left out, a rerank without effect."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...datasets.twins import GROUPED_BY
from ..results import Results


def splits(results: Results, datasets: Iterable[str]) -> str:
    """Note on the split of each published data set.

    Numbers of different splits are not comparable.
    """
    of_split: dict[str, list[str]] = {}
    for dataset in datasets:
        of_split.setdefault(results.split(dataset), []).append(dataset)
    said = [f"{split} ({', '.join(names)})" for split, names in of_split.items() if split != "own"]
    if not said:
        return ""
    return f"Splits: {'; '.join(said)}."


def source_of_groups(results: Results, dataset: str) -> str:
    """Where the groups of a data set come from, in words.

    "" where no two images can be alike, as in drawn data sets.
    """
    return GROUPED_BY.get(results.manifest(dataset).get("grouped_by", ""), "")


def grouped(results: Results) -> str:
    """Note on the groups behind every verdict: on which data sets they are declared, and on which
    they are only detected.
    """
    of_source: dict[str, list[str]] = {}
    for dataset in results.datasets:
        source = source_of_groups(results, dataset)
        if source:
            of_source.setdefault(source, []).append(dataset)
    said = [f"{source} ({', '.join(names)})" for source, names in of_source.items()]
    if not said:
        return ""
    return (
        f"Groups of near twins, which count as one observation in each verdict: {'; '.join(said)}."
    )


def rerank_off(results: Results) -> str:
    """Note on the data sets on which the rerank changed nothing, and why."""
    of_reason: dict[str, list[str]] = {}
    for dataset, model in results:
        reason = results.rerank_off(dataset, model)
        if reason:
            of_reason.setdefault(reason, []).append(place(results, dataset, model))
    said = [f"{reason} ({', '.join(places)})" for reason, places in of_reason.items()]
    if not said:
        return ""
    return f"Rerank off: {'; '.join(said)}."


def not_here(results: Results) -> str:
    """Note on data sets of the configuration that are in no row and no average."""
    if not results.left_out:
        return ""
    return f"Left out, because they are not here: {', '.join(results.left_out)}."


def test_left_out(results: Results) -> str:
    """Note on test images that could not be read, from the documents of zero_shot."""

    def parts(dataset: str) -> list[str]:
        document = results.zero_shot(dataset, results.models[0])
        lost = document["left_out"]
        return [_lost_of(lost, document["images"] + lost, "test images")]

    return _left_out(results.datasets, parts)


def shots_left_out(results: Results) -> str:
    """Note on test images and shots that could not be read, from the adapter's documents for the
    largest number of shots.
    """

    def parts(dataset: str) -> list[str]:
        document = results.adapter(dataset, results.models[0], results.shots[-1])
        lost = document["left_out"]
        test = _lost_of(lost["test"], document["images"] + lost["test"], "test images")
        return [test, _lost_of(lost["shots"], lost["drawn"], "shots")]

    return _left_out([d for d in results.datasets if results.shots_of(d)], parts)


def one_view(results: Results) -> str:
    """Note on discriminants of one shot per class, where features come without augmented views."""
    places = [d for d in results.features if 1 in results.shots_of(d)]
    if not places:
        return ""
    return (
        "With 1 shot per class and no augmented views, no two samples of a class differ, so there "
        "is no covariance to estimate: the linear discriminant is then the nearest shot, as the "
        "cache of raw features is, and GDA is CLIP alone. Their results at 1 shot are no evidence "
        f"about discriminants ({', '.join(places)})."
    )


def several_seeds(results: Results) -> bool:
    """True if few-shot methods ran with several seeds.

    Results of one seed hold for its shots alone.
    """
    return len({r["seed"] for r in results.few_shot_rows("runs")}) > 1


def varied(results: Results) -> str:
    """What the intervals of few-shot methods are over, in words."""
    if several_seeds(results):
        return "over seeds and images"
    return "over images, for these shots (one seed)"


def _left_out(datasets: Iterable[str], parts: Callable[[str], list[str]]) -> str:
    """Note on what could not be read. parts: data set -> numbers in words, "" for none."""
    said = []
    for dataset in datasets:
        lost = " and ".join(part for part in parts(dataset) if part)
        if lost:
            said.append(f"{lost} of {dataset}")
    if not said:
        return ""
    return f"Left out, because they cannot be read: {', '.join(said)}."


def _lost_of(lost: int, total: int, things: str) -> str:
    """Such as "2 of 90 test images"; "" if none is lost."""
    if not lost:
        return ""
    return f"{lost} of {total} {things}"


def place(results: Results, dataset: str, model: str) -> str:
    """The data set and, if there are several, the model."""
    if len(results.models) > 1:
        return f"{dataset} with {model}"
    return dataset
