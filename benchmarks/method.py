"""Speed and agreement of the method, plain vectorised code, and the published computation.

Plain code (`plain.py`) is what a good engineer writes: float32 and vectorised. The published
computation is reimplemented here. All in one run, in turn, on one CPU thread:

(a) class scores of stage one      goal: at least 0.7 of plain code, which is in float32; all of
                                   ours are exact, in float64
(b) one-to-one rerank              goal: at least twice plain code; building it as fast, and in
                                   time linear in the pairs
(c) affinity of images and shots   goal: at most a 50th of the memory
(d) search of alpha and beta       goal: at least three times plain code, which computes the votes
                                   of a beta once; the published 75,000 points are projected from a
                                   few that are measured
(e) searches of APE and TIP-X      the same

Seconds are CPU time, on one thread: they depend little on what else runs. Every row also shows the
largest difference. The features are random, with a common direction and class centres as CLIP's
have; the speed hardly depends on their values. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import plain
import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from coder_clip.adapter import CoderAdapter, search
from coder_clip.baselines.ape import Ape
from coder_clip.baselines.grid_search import Point
from coder_clip.baselines.tip_x import ALPHAS, BETAS, GAMMAS, TipX
from coder_clip.neighbors import TextNeighbors, l2_normalize
from coder_clip.rerank import OneToOne, rerank
from coder_clip.search.rounds import grid
from coder_clip.zero_shot import predict, softmax_gap, top_k

BATCH = 32  # images a batch in the published loader
NOISE = 2.5  # of images in the search
REPEATS = 3  # of the quick side
RUNS = 5  # of class scores and the rerank, in turn with the published ones


@dataclass(frozen=True)
class Sizes:
    """Sizes of the problems. d: width; the others per measurement."""

    d: int = 512
    classes: int = 1000
    mean_texts: int = 18  # per class; with one to three names and synonyms, 20 texts per class
    images: int = 10_000
    group: int = 23  # classes of which each has texts against each: 22,000 ordered pairs
    pair_texts: int = 24  # eight texts in three templates
    hesitant: int = 1000
    built: int = 1024  # unordered pairs whose texts are averaged, and four times as many
    shots: int = 16
    texts: int = 20_000
    queries: int = 500
    searches: tuple[tuple[int, int, int, int], ...] = (  # classes, shots, images, texts
        (47, 16, 1128, 517),  # as DTD
        (100, 16, 1649, 1100),  # as Caltech101
    )
    points: int = 20  # of the published grid that are measured


def main() -> None:
    """Run all measurements."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = Sizes()
    rows = [
        row
        for measure in (scores, duels, affinities, searches, baselines)
        for row in measure(sizes)
    ]
    print(
        "| what | published | plain | here | plain / here | goal | published / here | agreement |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    for row in rows:
        print(f"| {' | '.join(row)} |")


def clip_like(n: int, d: int, centres: Tensor | None = None, noise: float = 1.0) -> Tensor:
    """Unit rows around a common direction and the class centres in turn."""
    common = torch.ones(d) / d**0.5
    rows = common + noise * normalize(torch.randn(n, d), dim=1)
    if centres is not None:
        rows += 0.5 * centres[torch.arange(n) % len(centres)]
    return normalize(rows, dim=1)


def seconds(run: Callable[[], Any], repeats: int = 1) -> tuple[Any, float]:
    """The result and the median CPU time."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        result = run()
        times.append(time.process_time() - start)
    return result, statistics.median(times)


def in_turn(*ways: Callable[[], Any]) -> tuple[list[Any], list[float], str]:
    """Results and median CPU times of several ways of computing the same, the last of them ours.

    Also the span of the ratios of the last but one, plain code, and ours over RUNS runs.
    """
    for way in ways:
        way()  # warm up
    runs = [[seconds(way) for way in ways] for _ in range(RUNS)]
    times = [statistics.median(run[i][1] for run in runs) for i in range(len(ways))]
    ratios = sorted(run[-2][1] / run[-1][1] for run in runs)
    span = f"{ratios[0]:.3g}× to {ratios[-1]:.3g}× in {RUNS} runs"
    return [result for result, _ in runs[0]], times, span


def row(
    what: str,
    published: float | None,
    plain: float | None,
    ours: float,
    goal: str,
    agreement: str,
    note: str = "",
) -> list[str]:
    """A row of the table; None for a way that was not measured."""
    shown = [f"{published:.3g} s{note}" if published else "", f"{plain:.3g} s" if plain else ""]
    ratios = [f"{time / ours:.3g}×" if time else "" for time in (plain, published)]
    return [what, *shown, f"{ours:.3g} s", ratios[0], goal, ratios[1], agreement]


# ---- (a)


def scores(sizes: Sizes) -> list[list[str]]:
    centres = normalize(torch.randn(sizes.classes, sizes.d), dim=1)
    mean_texts = [clip_like(sizes.mean_texts, sizes.d, centres[[c]]) for c in range(sizes.classes)]
    max_texts = [clip_like(1 + c % 3, sizes.d, centres[[c]]) for c in range(sizes.classes)]
    x = clip_like(sizes.images, sizes.d, centres)
    texts = torch.cat([t for pair in zip(mean_texts, max_texts, strict=True) for t in pair])
    counts = [(len(a), len(b)) for a, b in zip(mean_texts, max_texts, strict=True)]

    def published() -> Tensor:
        found = []
        for batch in torch.split(x, BATCH):
            coder = normalize(batch, dim=1) @ normalize(texts, dim=1).T
            at, columns = 0, []
            for n_mean, n_max in counts:
                best = coder[:, at + n_mean : at + n_mean + n_max].max(dim=1).values
                columns.append(
                    torch.cat([coder[:, at : at + n_mean], best[:, None]], dim=1).mean(dim=1)
                )
                at += n_mean + n_max
            found.append(100 * torch.stack(columns, dim=1))
        return torch.cat(found)

    neighbors, simple = TextNeighbors(mean_texts, max_texts), plain.Neighbors(mean_texts, max_texts)
    (theirs, _, ours), times, span = in_turn(
        published, lambda: simple.scores(x), lambda: neighbors.class_scores(x)
    )
    same = (predict(ours) == predict(theirs)).double().mean().item()
    what = f"class scores, {sizes.classes} classes, {len(texts)} texts, {sizes.images} images"
    error = (ours - theirs).abs().max() / 100
    agreement = f"{span}; within {error:.1e}, {same:.2%} same predictions"
    found = row(what, *times, "≥ 0.7×", agreement)

    def best() -> tuple[Tensor, Tensor, Tensor]:
        scores = neighbors.class_scores(x)
        values, classes = top_k(scores)
        return values, classes, softmax_gap(scores, classes)

    (few, ours_few), times, span = in_turn(lambda: simple.top(x), best)
    same = (few[1][:, 0] == ours_few[1][:, 0]).double().mean().item()
    margin = (few[2] - ours_few[2]).abs().max()
    agreement = f"{span}; {same:.2%} same predictions, margins within {margin:.1e}"
    top = row("the same with the top five and margins", None, *times, "", agreement)
    (_, _), times, span = in_turn(
        lambda: plain.Neighbors(mean_texts, max_texts),
        lambda: TextNeighbors(mean_texts, max_texts),
    )
    built = row(f"building them from {len(texts)} texts", None, *times, "≥ 0.5×", span)
    # The least that exact scores take: one product per level of names in float64, nothing else.
    images, weights = l2_normalize(x), neighbors._levels
    (_, _), times, _ = in_turn(
        lambda: [images @ w.T for w in weights], lambda: neighbors.class_scores(x)
    )
    columns = sum(map(len, weights))
    what = f"plain: only the matrix products of exact scores, {columns} columns in float64"
    return [found, top, built, row(what, None, *times, "≥ 0.9×", "")]


# ---- (b)


def duels(sizes: Sizes) -> list[list[str]]:
    n = sizes.classes
    texts: dict[tuple[int, int], Tensor] = {}
    for a in range(n):
        start = a - a % sizes.group
        for b in range(start, min(start + sizes.group, n)):
            if a != b:
                texts[a, b] = clip_like(sizes.pair_texts, sizes.d)
    x = clip_like(sizes.hesitant, sizes.d)
    # the top five of an image are classes that have texts against each other, nine times out of ten
    scores = 0.01 * torch.randn(sizes.hesitant, n)
    groups = torch.randint(n // sizes.group, (sizes.hesitant, 1)) * sizes.group
    top = groups + torch.rand(sizes.hesitant, sizes.group).argsort(dim=1)[:, :5]
    top[::10, 4] = (top[::10, 4] + sizes.group) % n
    scores.scatter_(1, top, 1 + 0.01 * torch.rand(sizes.hesitant, 5))

    def published(x: Tensor, texts: dict[tuple[int, int], Tensor]) -> Tensor:
        picks = []
        shares = scores.softmax(dim=1).topk(2, dim=1).values
        hesitant = shares[:, 0] - shares[:, 1] < 2  # all
        for features, classes in zip(
            x[hesitant], scores.topk(5, dim=1).indices[hesitant].tolist(), strict=True
        ):
            values = []
            for a in classes:
                differences = []
                for b in classes:
                    if b != a:
                        try:
                            ours = normalize(features, dim=0) @ texts[a, b].T
                            theirs = normalize(features, dim=0) @ texts[b, a].T
                            differences.append(ours.mean() - theirs.mean())
                        except KeyError:
                            differences.append(torch.tensor(0.0))
                values.append(sum(differences) / len(differences))
            picks.append(max(zip(values, classes, strict=True), key=lambda pick: float(pick[0]))[1])
        return torch.tensor(picks)

    o, simple = OneToOne(texts, n_classes=n), plain.Pairs(texts, n)
    (theirs, _, ours), times, span = in_turn(
        lambda: published(x, texts),
        lambda: simple.rerank(x, scores, threshold=2),
        lambda: rerank(x, scores, o, threshold=2)[0],
    )
    held, ours_held = (
        sum(t.nbytes for t in texts.values()),
        sum(t.nbytes for t in o.state().values()),
    )
    what = f"rerank, {len(texts)} ordered pairs, {sizes.hesitant} images"
    same = (ours == theirs).double().mean().item()
    found = row(what, *times, "≥ 2×", f"{span}; {same:.2%} same picks")
    (_, _), times, span = in_turn(lambda: plain.Pairs(texts, n), lambda: OneToOne(texts, n))
    n_texts = sum(map(len, texts.values()))
    built = row(f"building it from {n_texts} texts", None, *times, "≥ 1×", span)
    return [found, built, memory_row("rerank, memory", held, ours_held, ""), building(sizes)]


def building(sizes: Sizes) -> list[str]:
    """Time of averaging the texts of many pairs, as a multiple of the time for a quarter of them: 4
    where it is linear.
    """
    many, few = 4 * sizes.built, sizes.built
    pairs = [(0, b) for b in range(1, many + 1)]
    texts = {
        order: clip_like(sizes.pair_texts, sizes.d) for a, b in pairs for order in ((a, b), (b, a))
    }
    some = {order: texts[order] for a, b in pairs[:few] for order in ((a, b), (b, a))}
    _, slow = seconds(lambda: OneToOne(texts, n_classes=many + 1), REPEATS)
    _, fast = seconds(lambda: OneToOne(some, n_classes=many + 1), REPEATS)
    what = f"building the rerank of {many} pairs: {slow:.3g} s, and of {few}"
    return [what, "", "", f"{fast:.3g} s", f"{slow / fast:.3g}×", "≤ 5×", "", "linear: 4×"]


def memory_row(what: str, slow: float, fast: float, goal: str, agreement: str = "") -> list[str]:
    held = f"{slow / 1e6:.0f} MB", "", f"{fast / 1e6:.1f} MB"
    return [what, *held, "", goal, f"{slow / fast:.3g}×", agreement]


# ---- (c)


class Published:
    """Explicit CODERs of shots and images, kept in float64, converted at each use, as published."""

    def __init__(self, shots: Tensor, labels: Tensor, texts: Tensor, n_classes: int) -> None:
        self.texts = texts
        self.keys = normalize(shots @ texts.T, dim=1).double().T
        self.values = one_hot(labels, n_classes).double()

    def encode(self, x: Tensor) -> Tensor:
        return normalize(x @ self.texts.T, dim=1).double()

    def affinity(self, coders: Tensor) -> Tensor:
        cosine = coders.float() @ self.keys.float()
        low, high = cosine.min(dim=1).values[:, None], cosine.max(dim=1).values[:, None]
        return (cosine - low) / (high - low)

    def accuracy(
        self, coders: Tensor, clip: Tensor, labels: Tensor, alpha: float, beta: float
    ) -> float:
        near = ((-1) * (beta - beta * self.affinity(coders))).exp()
        logits = clip + near @ self.values.float() * alpha
        return float((logits.topk(1, 1).indices[:, 0] == labels).double().mean())


def affinities(sizes: Sizes) -> list[list[str]]:
    centres = normalize(torch.randn(sizes.classes, sizes.d), dim=1)
    labels = torch.arange(sizes.classes * sizes.shots) % sizes.classes
    shots, texts = (
        clip_like(len(labels), sizes.d, centres),
        clip_like(sizes.texts, sizes.d, centres),
    )
    x = clip_like(sizes.queries, sizes.d, centres)
    a = CoderAdapter.fit(shots, labels, texts, n_classes=sizes.classes)
    ours, fast = seconds(lambda: a.affinity(x), REPEATS)
    published = Published(shots, labels, texts, sizes.classes)
    theirs, slow = seconds(lambda: published.affinity(published.encode(x)))

    some = x[:20].double()  # float64 truth for a few images: all would take minutes
    exact = normalize(some @ texts.double().T, dim=1) @ published_keys(shots, texts)
    low, high = exact.aminmax(dim=1, keepdim=True)
    exact = (exact - low) / (high - low)
    errors = [float((found[:20].double() - exact).abs().max()) for found in (theirs, ours)]
    agreement = f"error against float64: published {errors[0]:.1e}, here {errors[1]:.1e}"
    what = f"{len(labels)} shots, {sizes.texts} texts"
    held = published.keys.nbytes, a.weights.nbytes
    return [
        memory_row(f"affinity, memory of {what}", *held, "≥ 50×", "published: float64"),
        row(f"affinity of {sizes.queries} images with {what}", slow, None, fast, "", agreement),
    ]


def published_keys(shots: Tensor, texts: Tensor) -> Tensor:
    return normalize(shots.double() @ texts.double().T, dim=1).T


# ---- (d)


def searches(sizes: Sizes) -> list[list[str]]:
    return [one_search(*size, sizes) for size in sizes.searches]


def one_search(
    n_classes: int, n_shots: int, n_images: int, n_texts: int, sizes: Sizes
) -> list[str]:
    centres = normalize(torch.randn(n_classes, sizes.d), dim=1)
    shot_labels = torch.arange(n_classes * n_shots) % n_classes
    labels = torch.arange(n_images) % n_classes
    texts = clip_like(n_texts, sizes.d, centres)
    # noisy images, and names that miss the classes' centres: neither CLIP nor the shots are right
    # alone
    shots = clip_like(len(shot_labels), sizes.d, centres, noise=NOISE)
    x = clip_like(n_images, sizes.d, centres, noise=NOISE)
    clip = 100 * x @ clip_like(n_classes, sizes.d, centres).T

    def ours() -> Any:
        return search(
            CoderAdapter.fit(shots, shot_labels, texts, n_classes=n_classes), x, clip, labels
        )

    found, fast = seconds(ours, REPEATS)
    published = Published(shots, shot_labels, texts, n_classes)
    coders = published.encode(x)
    rest = [(0.1 + 0.398 * i, 0.1 + 9.9 * i) for i in range(sizes.points - 1)]
    points = [(found.alpha, found.beta), *rest]
    theirs, slow = seconds(lambda: [published.accuracy(coders, clip, labels, *p) for p in points])
    alone = float((clip.argmax(dim=1) == labels).double().mean())

    def simple() -> plain.Best:
        near = published.affinity(published.encode(x))
        votes = plain.decayed_votes(near, one_hot(shot_labels, n_classes).float())
        betas, alphas = (0.1, 200.0, 500), (0.1, 20.0, 50)
        for _ in range(3):  # published rounds
            best = plain.best_point(
                votes, clip, labels, grid(*betas).tolist(), grid(*alphas).tolist()
            )
            betas = (0.5 * best.beta, 1.5 * best.beta, 500)
            alphas = (0.5 * best.alpha, 1.5 * best.alpha, 50)
        return best

    _, plain_time = seconds(simple)
    return row(
        f"search, {n_classes} classes, {len(shot_labels)} shots, {n_images} images, {n_texts} "
        "texts",
        slow * 75_000 / len(points),
        plain_time,
        fast,
        "≥ 3×",
        f"α {found.alpha:.3g}, β {found.beta:.4g}: {found.accuracy:.2%}, published "
        f"{theirs[0]:.2%}; CLIP {alone:.2%}",
        f" (75,000 points, from {len(points)})",
    )


# ---- (e)


def baselines(sizes: Sizes) -> list[list[str]]:
    """The searches of APE and TIP-X as their authors do them.

    All votes of a point are computed again at each point.
    """
    n_classes, n_shots, n_images, _ = sizes.searches[0]
    centres = normalize(torch.randn(n_classes, sizes.d), dim=1)
    shot_labels, labels = (
        torch.arange(n_classes * n_shots) % n_classes,
        torch.arange(n_images) % n_classes,
    )
    shots = clip_like(len(shot_labels), sizes.d, centres, noise=NOISE)
    x = clip_like(n_images, sizes.d, centres, noise=NOISE)
    names = clip_like(n_classes, sizes.d, centres)
    clip = 100 * x @ names.T
    values = one_hot(shot_labels, n_classes).float()
    found = []
    ape, tip_x = Ape.fit(shots, shot_labels, names), TipX.fit(shots, shot_labels, names, x)
    near, weights = ape.affinity(x).float(), ape.divergence.float()[:, None]
    cosine, far = (part.float() for part in tip_x.affinity(x))

    def of_ape(p: Point) -> Tensor:
        return (
            clip
            + (-(p.beta - p.beta * near)).exp() @ (values * (weights * p.gamma).exp()) * p.alpha
        )

    def of_tip_x(p: Point) -> Tensor:
        return (
            clip + (-(p.beta - p.beta * cosine)).exp() @ values * p.alpha - far @ values * p.gamma
        )

    for name, model, logits, grids, simple in (
        ("APE", ape, of_ape, ape.constants[2:], plain_ape),
        ("TIP-X", tip_x, of_tip_x, (BETAS, ALPHAS, GAMMAS), plain_tip_x),
    ):
        _, plain_time = seconds(
            lambda model=model, grids=grids, simple=simple: simple(
                model, x, clip, labels, values, grids
            )
        )
        best, fast = seconds(lambda model=model: model.search(x, clip, labels), REPEATS)
        some = [best, *(Point(1.0 + i, 2.0 + i, 0.5) for i in range(sizes.points - 1))]
        right, slow = seconds(
            lambda logits=logits, some=some: [
                (logits(p).argmax(dim=1) == labels).double().mean() for p in some
            ]
        )
        ours = float((model.logits(x, clip, best).argmax(dim=1) == labels).double().mean())
        points = math.prod(span[2] for span in grids)
        found.append(
            row(
                f"search of {name}, {n_classes} classes, {len(shot_labels)} shots, {n_images} "
                "images",
                slow * points / len(some),
                plain_time,
                fast,
                "≥ 3×",
                f"at its point: {ours:.2%}, published {float(right[0]):.2%}",
                f" ({points:,} points, from {len(some)})",
            )
        )
    return found


def plain_ape(
    ape: Ape, x: Tensor, clip: Tensor, labels: Tensor, values: Tensor, grids: Any
) -> plain.Best:
    """A product for each β and γ, whose votes all α share."""
    betas, alphas, gammas = (grid(*span).tolist() for span in grids)
    weights = ape.divergence.float()[:, None]
    of_gamma = {gamma: values * (weights * gamma).exp() for gamma in gammas}
    affinity = ape.affinity(x).float()
    found = []
    for beta in betas:
        decayed = ((affinity - 1) * beta).exp_()
        for gamma, weighted in of_gamma.items():
            votes = decayed @ weighted
            best = plain.best_point(lambda _, v=votes: v, clip, labels, [beta], alphas)
            found.append(best._replace(gamma=gamma))
    return max(found, key=lambda best: best.accuracy)


def plain_tip_x(
    tip_x: TipX, x: Tensor, clip: Tensor, labels: Tensor, values: Tensor, grids: Any
) -> plain.Best:
    """The votes of a β and those of the divergence once, and added for each α and γ."""
    near, divergence = (part.float() for part in tip_x.affinity(x))
    votes, against = plain.decayed_votes(near, values), divergence @ values
    betas, alphas, gammas = (grid(*span).tolist() for span in grids)
    found = []
    for gamma in gammas:
        moved = torch.add(clip, against, alpha=-gamma)
        best = plain.best_point(votes, moved, labels, betas, alphas)
        found.append(best._replace(gamma=gamma))
    return max(found, key=lambda best: best.accuracy)


if __name__ == "__main__":
    main()
