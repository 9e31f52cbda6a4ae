"""The phases, in the order of the paper, and their places below the results folder."""

from __future__ import annotations

from dataclasses import dataclass

RECORDS = "certificates"  # folder of provenance records
ABOUT_RUNS = ("environment.json", "logs", "benchmarks", RECORDS)  # part of no result


@dataclass(frozen=True)
class Phase:
    """A phase. target: its name for Snakemake. makes: names below the results folder; keeps: those
    of them that are in Git for the default configuration, because they are small and meant to be
    read. All others are in DVC.
    """

    name: str
    makes: tuple[str, ...]
    target: str = ""
    keeps: tuple[str, ...] = ()


PHASES: tuple[Phase, ...] = (
    Phase("texts", ("manifests", "texts")),
    Phase("image_features", ("image_features",)),
    Phase("text_features", ("text_features",)),
    Phase("coder", ("coder",)),
    Phase("zero_shot", ("zero_shot",)),
    Phase("one_to_one", ("one_to_one",)),
    Phase("rerank", ("rerank",)),
    Phase("adapter", ("adapter",)),
    Phase("evaluation", ("evaluation",)),
    Phase(
        "report",
        ("figures", "report.html", "tables", "metrics.json"),
        target="report_page",
        keeps=("tables", "metrics.json"),
    ),
)
