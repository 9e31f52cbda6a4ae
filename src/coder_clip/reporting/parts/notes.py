"""Notes below tables: the split, images left out, a rerank without effect."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..results import Results


def splits(results: Results, datasets: Iterable[str]) -> str:
    """Note on the split of each published data set, because numbers of different splits are not
    comparable.
    """
    places: dict[str, list[str]] = {}
    for dataset in datasets:
        places.setdefault(results.split(dataset), []).append(dataset)
    said = [f"{split} ({', '.join(where)})" for split, where in places.items() if split != "own"]
    return f"Splits: {'; '.join(said)}." if said else ""


def rerank_off(results: Results) -> str:
    """The data sets on which the rerank changed nothing, and why."""
    places: dict[str, list[str]] = {}
    for dataset, model in results:
        reason = results.rerank_off(dataset, model)
        if reason:
            places.setdefault(reason, []).append(_place(results, dataset, model))
    said = [f"{reason} ({', '.join(where)})" for reason, where in places.items()]
    return f"Rerank off: {'; '.join(said)}." if said else ""


def not_here(results: Results) -> str:
    """Data sets of the configuration that are in no row and no average."""
    return (
        f"Left out, because they are not here: {', '.join(results.left_out)}."
        if results.left_out
        else ""
    )


def test_left_out(results: Results) -> str:
    """Note on test images that could not be read, from the documents of zero_shot."""
    return _left_out(results.datasets, lambda dataset: _test(results, dataset))


def shots_left_out(results: Results) -> str:
    """Test images and shots left out, from the adapter's documents for the largest number of
    shots.
    """

    def parts(dataset: str) -> list[str]:
        document = results.adapter(dataset, results.models[0], results.shots[-1])
        left = document["left_out"]
        test = _some(left["test"], document["images"] + left["test"], "test images")
        return [test, _some(left["shots"], left["drawn"], "shots")]

    return _left_out([d for d in results.datasets if results.shots_of(d)], parts)


def several_seeds(results: Results) -> bool:
    """True if few-shot methods ran with several seeds. Results of one seed hold for its shots
    alone.
    """
    return len({r["seed"] for r in results.few_shot_rows("runs")}) > 1


def varied(results: Results) -> str:
    """What the intervals of few-shot methods are over."""
    return (
        "over seeds and images"
        if several_seeds(results)
        else "over images, for these shots (one seed)"
    )


def _test(results: Results, dataset: str) -> list[str]:
    document = results.zero_shot(dataset, results.models[0])
    lost = document["left_out"]
    return [_some(lost, document["images"] + lost, "test images")]


def _left_out(datasets: Iterable[str], parts: Callable[[str], list[str]]) -> str:
    found = {dataset: " and ".join(p for p in parts(dataset) if p) for dataset in datasets}
    said = [f"{what} of {dataset}" for dataset, what in found.items() if what]
    return f"Left out, because they cannot be read: {', '.join(said)}." if said else ""


def _some(lost: int, of: int, what: str) -> str:
    return f"{lost} of {of} {what}" if lost else ""


def _place(results: Results, dataset: str, model: str) -> str:
    return f"{dataset} with {model}" if len(results.models) > 1 else dataset
