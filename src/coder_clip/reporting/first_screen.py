"""The first screen of a report: what was run, what came out, and what it says about the paper."""

from __future__ import annotations

from dataclasses import dataclass

from ..baselines.methods import LABELS
from ..claims import JUDGED, PAPER, REEVALUATION
from ..datasets import is_part
from ..foundation.terminal import counted
from .exhibits.claims import TONES, VERDICTS, said, where
from .parts.cells import Record, with_interval
from .results import Results
from .verdicts import places, records, tested

METHODS = ("clip", "clip_ensemble", "coder", "coder_rerank")
MOST = 10  # claims
LEGEND = (
    f"{VERDICTS} A claim of the {PAPER} that is contradicted speaks against it, and so does one of "
    f"{REEVALUATION} (CVPR 2026) that is shown."
)
# The claims of a first screen, in this order, chosen before any result: what the paper says of each
# of its parts, and what others say against it. A contradicted claim of the paper comes first,
# and others with a verdict follow in the order of their table.
HEADLINES = (
    *("coder_beats_clip", "coder_beats_prompts", "rerank_adds", "more_texts"),
    *("adapter_beats_tip_adapter", "adapter_beats_gda", "nearer_neighbours"),
    *("discriminant_beats_adapter_without_clip", "texts_beat_rotated_texts"),
    "texts_beat_whitening",
)


@dataclass(frozen=True)
class Headline:
    """A claim on the first screen. verdicts: verdict with its numbers, and tone, for each place."""

    statement: str
    source: str
    verdicts: list[tuple[str, str]]


@dataclass(frozen=True)
class FirstScreen:
    """The first screen.

    ran: what was run, a sentence. methods: the columns of accuracies; rows: where, and an accuracy
    with its interval for each method, "–" for none. places: the columns of headlines.
    """

    ran: str
    methods: list[str]
    rows: list[tuple[str, list[str]]]
    headlines: list[Headline]
    places: list[str]


def first_screen(results: Results) -> FirstScreen:
    """The first screen of results."""
    rows = []
    for dataset, model in results.named():
        methods = results.main_methods(dataset, model)
        if not results.has_texts(dataset):
            # by names alone CODER is CLIP, and its accuracy would look like a result of CODER
            methods = {m: entry for m, entry in methods.items() if not m.startswith("coder")}
        found = [
            with_interval(*(methods[m]["accuracy"][end] for end in ("value", "low", "high")))
            if m in methods
            else "–"
            for m in METHODS
        ]
        rows.append((where(results, dataset, model, ""), found))
    named = [where(results, *place, "mean over data sets") for place in places(results)]
    shown = [i for i in range(len(METHODS)) if any(numbers[i] != "–" for _, numbers in rows)]
    labels = [LABELS[METHODS[i]] for i in shown]
    rows = [(place, [numbers[i] for i in shown]) for place, numbers in rows]
    return FirstScreen(_ran(results), labels, rows, _headlines(results), named)


def _ran(results: Results) -> str:
    """What was run, in one sentence."""
    whole = [d for d in results.datasets if not is_part(d)]
    images = sum(results.images(d) for d in whole)
    names = ", ".join(whole) if len(whole) <= 4 else f"{', '.join(whole[:3])} and others"
    few_shot = "zero-shot"
    if any(results.shots_of(d) for d in whole):
        seeds = len({r["seed"] for r in results.few_shot_rows("runs")})
        few_shot += (
            f" and few-shot ({', '.join(map(str, results.shots))} shots, {counted(seeds, 'seed')})"
        )
    return (
        f"CODER and its baselines on {counted(len(whole), 'data set')} ({names}; "
        f"{images:,} test images) with {', '.join(results.models)}: {few_shot}."
    )


def _headlines(results: Results) -> list[Headline]:
    """At most MOST claims: contradicted ones of the paper, HEADLINES, others with a verdict."""
    found, shown = records(results), places(results)
    by_id = {claim.id: claim for claim in tested(results)}

    def of(claim: str) -> dict[tuple[str, str], Record]:
        return {p: found[claim, *p] for p in shown if (claim, *p) in found}

    against = [
        c.id
        for c in by_id.values()
        if c.by == PAPER and any(r["verdict"] == "contradicted" for r in of(c.id).values())
    ]
    others = [c for c in by_id if any(r["verdict"] in JUDGED for r in of(c).values())]
    chosen = [c for c in dict.fromkeys([*against, *HEADLINES, *others]) if c in by_id and of(c)]
    headlines = []
    for claim in chosen[:MOST]:
        verdicts = []
        for place in shown:
            r = of(claim).get(place)
            if r is None:
                verdicts.append(("–", ""))
            else:
                verdicts.append((said(r, here=False), TONES.get(r["verdict"], "")))
        source = by_id[claim].source
        if by_id[claim].exploratory:
            source += ", exploratory"
        headlines.append(Headline(by_id[claim].statement, source, verdicts))
    return headlines


def in_words(screen: FirstScreen) -> list[str]:
    """The first screen as lines of text."""
    lines = [
        screen.ran,
        "",
        f"top-1 accuracy in percent, 95 % interval: {', '.join(screen.methods)}",
    ]
    lines += [f"  {place}: {', '.join(numbers)}" for place, numbers in screen.rows]
    lines += [
        "",
        "claims: difference in points, 95 % interval (of texts for classes like these)",
    ]
    for headline in screen.headlines:
        lines.append(f"  {headline.statement} ({headline.source})")
        of_places = zip(screen.places, headline.verdicts, strict=True)
        lines += [f"    {place}: {words}" for place, (words, _) in of_places]
    return [*lines, "", LEGEND]
