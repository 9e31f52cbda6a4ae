"""THE list of jobs: what each reads, makes and calls, and when it exists.

Snakemake's rules (workflow/Snakefile), the commands of the phases, status, explain, verify and the
estimates read this list. A phase is added by an entry in RULES and a module in `phases`.

The functions of this module read the configuration, once, where a run is planned. A job is handed
its part of it: paths, settings that decide its result, and what holds only here (folders and
devices). Its function sees nothing else of the configuration.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from string import Formatter
from typing import Any

from .baselines.methods import ABLATIONS, FEW_SHOT
from .datasets import load_templates
from .datasets.base import Source
from .datasets.published import data_root
from .encoders import families
from .foundation.artifacts import Paths
from .foundation.caches import feature_store
from .pipeline.config import Config, known_folders
from .pipeline.listing import listing
from .pipeline.phases import ABOUT_RUNS
from .pipeline.phases import PHASES as PHASES
from .pipeline.phases import RECORDS as RECORDS
from .pipeline.phases import Phase as Phase
from .pipeline.resources import workers
from .protocols import SETTINGS
from .reporting.all_exhibits import FIGURES, TABLES
from .rerun.record import Job
from .texts.sets import review_file
from .texts.sources import SOURCES

# variable: the file where Snakemake notes what it would ask of a cluster (preflight/cluster.py)
REQUESTS = "CODER_CLIP_REQUESTS"
SPLITS = ("shots", "val", "test")  # of image features
# Variables that change no result: where caches and data are, and which devices a job may use.
VARIABLES = ["CODER_CLIP_*", "CUDA_*", "HF_*", "SLURM_*", "TMPDIR", "XDG_*"]
Place = Mapping[str, str]  # wildcard -> value


@dataclass(frozen=True)
class Part:
    """A job's part of the configuration: arguments of its function (`rerun.record.Job`).

    reads: files, whose bytes count in the job's record. settings: values, which count. here: what
    differs between machines and changes no result; it does not count. call: another function than
    the rule's.
    """

    reads: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    here: dict[str, Any] = field(default_factory=dict)
    call: str = ""


@dataclass(frozen=True)
class Rule:
    """A kind of job.

    name: of Snakemake's rule. phase: that it belongs to. call: its function, below
    `coder_clip.phases`. makes: arguments that are files, with wildcards in braces. part: from the
    configuration and the values of the wildcards. about: what its command does. message: what a
    job does, with wildcards. exists: False at places without this job. gpu: it encodes, on a GPU
    if there is one. waits: for downloads of "images" or "weights". local: it runs on the head node,
    which has network; "unless placed": if the profile names no partition for it. command: of the
    command line, and its options before the wildcards. priority: as Snakemake's.
    """

    name: str
    phase: str
    call: str
    makes: Callable[[Paths], dict[str, Any]]
    part: Callable[..., Part]
    message: str
    exists: Callable[..., bool] = lambda config, **place: True
    gpu: bool = False
    waits: tuple[str, ...] = ()
    local: bool | str = False
    command: str = ""
    about: str = ""
    priority: int = 0

    @cached_property
    def wildcards(self) -> list[str]:
        """The names of the wildcards, in the order of the first output."""
        first = self.outputs(Paths(""))[0]
        return list(dict.fromkeys(name for _, name, *_ in Formatter().parse(first) if name))

    @cached_property
    def named_outputs(self) -> list[str]:
        """The names of the outputs that can be made alone; [] if there are none."""
        out = self.makes(Paths(""))["out"]
        return list(out) if isinstance(out, Mapping) else []

    def outputs(self, paths: Paths) -> list[str]:
        """The files that the job makes, with wildcards."""
        return Job("", "", makes=_texts(self.makes(paths))).outputs

    def places(self, config: Config) -> list[dict[str, str]]:
        """The places where this job exists in a configuration: values of its wildcards."""
        values = wildcards(config)
        places = product(*(values[name] for name in self.wildcards))
        named = [dict(zip(self.wildcards, place, strict=True)) for place in places]
        return [place for place in named if self.exists(config, **place)]

    def job(self, config: Config, place: Place) -> Job:
        """The job at a place."""
        part = self.part(config, **place)
        return Job(
            name=self.name_at(place),
            call=f"coder_clip.phases.{part.call or self.call}",
            reads=_texts(part.reads),
            makes=_texts(self.makes(Paths(config.results)), place),
            settings=part.settings,
            here=part.here,
            ignore=ignored(config),
        )

    def name_at(self, place: Place) -> str:
        """The name of the job at a place."""
        return "/".join([self.phase, self.name, *(place[name] for name in self.wildcards)])

    def typed(self, place: Place) -> str:
        """The command that a person types for the job at a place."""
        options = [f"--{name} {value}" for name, value in place.items()]
        return " ".join(["coder-clip", self.command, *options])


# name of a target besides phases -> its rules
MORE_TARGETS = {
    "manifest": ("list_images",),
    "figures": ("figures_of_results", "figures_of_images"),
}


def wildcards(config: Config) -> dict[str, list[str]]:
    """Wildcard -> its values in a configuration."""
    return {
        "dataset": list(config.datasets),
        "model": list(config.models),
        "shots": list(map(str, config.adapter.shots)),
        "shard": list(map(str, range(config.features.shards))),
        "shards": [str(config.features.shards)],
    }


def jobs(config: Config) -> list[Job]:
    """All jobs of a configuration."""
    return [rule.job(config, place) for rule in RULES for place in rule.places(config)]


def targets(every: list[Job]) -> dict[str, list[str]]:
    """Name of a target for Snakemake -> its files: of a phase, or of some rules."""
    found: dict[str, list[str]] = {}
    for job in every:
        phase, rule, *_ = job.name.split("/")
        target = next(known.target or known.name for known in PHASES if known.name == phase)
        for name in (target, *(name for name, rules in MORE_TARGETS.items() if rule in rules)):
            found.setdefault(name, []).extend(job.outputs)
    return found


def rule_of(job: Job) -> Rule:
    """The rule of a job, by the job's name."""
    name = job.name.split("/")[1]
    return next(rule for rule in RULES if rule.name == name)


def encoder_arguments(config: Config, model: str) -> dict[str, Any]:
    """Arguments of `phases.encoder.encoder_of` for a model of the configuration."""
    return {"encoder": _encoder(config, model), **_device(config)}


def place_of(job: Job) -> dict[str, str]:
    """The values of a job's wildcards."""
    return dict(zip(rule_of(job).wildcards, job.name.split("/")[2:], strict=True))


def job_at(config: Config, rule: str, **place: str) -> Job:
    """The job of a rule at a place: values of its wildcards."""
    (found,) = (known for known in RULES if known.name == rule)
    return found.job(config, {name: place[name] for name in found.wildcards})


def work(config: Config, rule: str, **place: str) -> None:
    """Do the work of a job in this process, without a record: what its command does."""
    call(job_at(config, rule, **place))


def call(job: Job) -> None:
    """Call the function of a job, with the arguments as its process gets them: plain JSON."""
    module, _, name = job.call.partition(":")
    arguments = json.loads(json.dumps({**job.reads, **job.makes, **job.settings, **job.here}))
    getattr(importlib.import_module(module), name)(**arguments)


def ignored(config: Config) -> dict[str, list[str]]:
    """What the process of a job does not note: images are known by their list, answers of a
    language model by their requests, whatever the key.
    """
    secrets = config.generator.secrets if config.generator else []
    folders = [config.results / name for name in ABOUT_RUNS]
    return {
        "folders": list(map(str, [*known_folders(config), *folders])),
        "changing": [str(config.results)],
        "variables": [*VARIABLES, *secrets],
    }


def _texts(paths: Any, place: Place | None = None) -> Any:
    """Arguments that are paths, as texts; with the values of wildcards in their places."""
    if paths is None:
        return None
    if isinstance(paths, Mapping):
        return {name: _texts(path, place) for name, path in paths.items()}
    if isinstance(paths, (str, Path)):
        return str(paths).format(**place) if place else str(paths)
    return [_texts(path, place) for path in paths]


# ---- parts of the configuration, as several rules have them --------------------------------------


def _source(config: Config, dataset: str) -> dict[str, Any]:
    """What loading a data set needs (`datasets.base.Source`)."""
    given = config.datasets[dataset]
    fields = {name: getattr(given, name) for name in Source.__dataclass_fields__}
    return {name: str(v) if isinstance(v, Path) else v for name, v in fields.items()} | {
        "templates": {}
    }


def _root(config: Config) -> str | None:
    """The folder of published data sets."""
    if not os.environ.get("CODER_CLIP_DATA") and config.data_root is None:
        return None
    return str(data_root(config.data_root))


def _encoder(config: Config, model: str) -> dict[str, Any]:
    """The specification of an encoder, without its device."""
    return config.models[model].model_dump()


def _device(config: Config) -> dict[str, Any]:
    """Where an encoder works."""
    store = str(feature_store()) if config.features.cache else ""
    return {"device": config.features.device, "store": store}


def _templates(config: Config, dataset: str) -> dict[str, Any]:
    return asdict(load_templates(dataset, config.datasets[dataset]))


def _threads(config: Config) -> dict[str, Any]:
    return {"threads": config.features.threads}


def _shots(config: Config) -> dict[str, Any]:
    """The draws of shots."""
    a = config.adapter
    return {"shots": config.most_shots(), "seeds": a.seeds, "repeat_shots": a.repeat_shots}


def _features(config: Config, model: str, dataset: str, split: str) -> Path | None:
    """The image features of a split; None if the data set has no such split."""
    if split not in config.encoded(dataset):
        return None
    return Paths(config.results).image_features(model, dataset, split)


def _typed(rule: str, model: str, dataset: str, **more: str) -> str:
    """The command of a job, which its documents name."""
    (found,) = (known for known in RULES if known.name == rule)
    return found.typed({"model": model, "dataset": dataset, **more})


def _skips(config: Config) -> bool:
    return config.features.on_error == "skip"


def _has_texts(config: Config, dataset: str, **place: str) -> bool:
    """False if a model brings its texts as features and has none for the classes."""
    return config.class_texts(dataset)


def _review(config: Config, dataset: str) -> Path | None:
    """People's decisions about a language model's texts, if there are any."""
    if config.generator is None:
        return None
    path = review_file(config.generator.answers, dataset)
    return path if path.is_file() else None


# ---- texts ---------------------------------------------------------------------------------------


def _manifest(config: Config, dataset: str) -> Part:
    settings = {
        "dataset": dataset,
        "source": _source(config, dataset),
        "needed": config.encoded(dataset)[-2:],
        "shots": shots_needed(config, dataset),
        "on_error": config.features.on_error,
        "listing": listing(config, dataset),
    }
    reads = {"corrections": config.datasets[dataset].corrections}
    return Part(reads, settings, {"data_root": _root(config)})


def shots_needed(config: Config, dataset: str) -> int | None:
    """Number of training images that each class needs; None if images may repeat."""
    if not config.few_shot(dataset) or config.adapter.repeat_shots:
        return None
    return config.most_shots()


def _generated(config: Config, dataset: str) -> dict[str, Any]:
    """Settings of jobs that ask a source of texts."""
    model = config.text_encoder()
    generator = config.generator and config.generator.model_dump(mode="json")
    return {
        "dataset": dataset,
        "templates": _templates(config, dataset),
        "generator": generator,
        "model": model,
        "encoder": _encoder(config, model),
        **_threads(config),
    }


def _generate_texts(config: Config, dataset: str) -> Part:
    compares = config.compares_names(dataset)
    reads = {
        "manifest": Paths(config.results).manifest(dataset),
        "files": config.models[config.text_encoder()].files if compares else [],
        "review": _review(config, dataset),
    }
    sources = config.datasets[dataset].generated(dataset)
    settings = {**_generated(config, dataset), "sources": sources}
    return Part(reads, settings, {**_device(config), "access": _access(config)})


def _access(config: Config) -> dict[str, Any]:
    """How a language model is asked."""
    return config.generator.access() if config.generator else {}


def _texts_of(config: Config, dataset: str) -> Part:
    entry, paths = config.datasets[dataset], Paths(config.results)
    generated = paths.generated_texts(dataset) if entry.generated(dataset) else None
    kinds: dict[str, str] = {}
    if entry.text_source(dataset) is None:
        for kind, source in entry.text_sources(dataset).items():
            kinds[kind] = str(source if isinstance(source, Path) else generated)
    reads = {
        "manifest": paths.manifest(dataset),
        "files": entry.text_files(dataset),
        "generated": generated,
    }
    return Part(reads, {"dataset": dataset, "kinds": kinds})


# ---- features ------------------------------------------------------------------------------------


def _encode_images(config: Config, model: str, dataset: str, **shard: str) -> Part:
    paths = Paths(config.results)
    settings: dict[str, Any] = {
        "model": model,
        "dataset": dataset,
        "source": _source(config, dataset),
        "encoded": config.encoded(dataset),
        **_shots(config),
    }
    here: dict[str, Any] = {"data_root": _root(config), "about": str(paths.environment)}
    reads: dict[str, Any] = {"manifest": paths.manifest(dataset)}
    if config.of_features(dataset):
        settings |= _threads(config)
        return Part(reads, settings, here, "given_features:run")
    given = config.datasets[dataset]
    reads |= {"files": config.models[model].files, "corrections": given.corrections}
    settings |= {
        "views": given.views,
        "keep_views": config.views_stored(dataset),
        "encoder": _encoder(config, model),
        "batch_size": config.features.batch_size,
        "on_error": config.features.on_error,
        **{name: int(number) for name, number in shard.items()},
        **_threads(config),
    }
    here |= {**_device(config), "workers": workers(config, False)}
    return Part(reads, settings, here)


def _image_files(paths: Paths) -> dict[str, Any]:
    return {"out": {split: paths.image_features("{model}", "{dataset}", split) for split in SPLITS}}


def _shard_files(paths: Paths) -> dict[str, Any]:
    place = "{shard}", "{shards}"
    return {
        "out": {split: paths.image_shard("{model}", "{dataset}", split, *place) for split in SPLITS}
    }


def _merge_shards(config: Config, model: str, dataset: str) -> Part:
    paths, shards = Paths(config.results), config.features.shards
    parts = {
        split: [paths.image_shard(model, dataset, split, i, shards) for i in range(shards)]
        for split in SPLITS
    }
    return Part({"parts": parts})


def _encode_texts(config: Config, model: str, dataset: str) -> Part:
    paths, e = Paths(config.results), config.evaluation
    reads = {
        "manifest": paths.manifest(dataset),
        "texts": paths.texts(dataset),
        "files": config.models[model].files,
    }
    if not families.encodes(config.models[model].model):
        return _tables(config, model, dataset, reads, "text_tables:run")
    settings = {
        "model": model,
        "dataset": dataset,
        "templates": _templates(config, dataset),
        "encoder": _encoder(config, model),
        "seed": e.seed,
        "random_draws": e.random_draws,
        "template_ensemble": e.template_ensemble,
        **_threads(config),
    }
    return Part(reads, settings, _device(config))


def _encode_pairs(config: Config, model: str, dataset: str) -> Part:
    paths = Paths(config.results)
    reads = {
        "manifest": paths.manifest(dataset),
        "texts": paths.one_to_one_texts(dataset),
        "files": config.models[model].files,
    }
    if not families.encodes(config.models[model].model):
        return _tables(config, model, dataset, reads, "text_tables:pairs")
    settings = {
        "model": model,
        "dataset": dataset,
        "templates": _templates(config, dataset),
        "encoder": _encoder(config, model),
        **_threads(config),
    }
    return Part(reads, settings, _device(config))


def _tables(config: Config, model: str, dataset: str, reads: dict[str, Any], call: str) -> Part:
    """The texts of a model that brings them as features."""
    settings = {"model": model, "dataset": dataset, "tables": config.models[model].model}
    return Part(reads, settings, {"data_root": _root(config)}, call)


# ---- the method ----------------------------------------------------------------------------------


def _coder(config: Config, model: str, dataset: str) -> Part:
    texts = Paths(config.results).text_features(model, dataset)
    return Part({"texts": texts}, _threads(config))


def _zero_shot(config: Config, model: str, dataset: str) -> Part:
    paths = Paths(config.results)
    reads = {
        "val": _features(config, model, dataset, "val"),
        "test": _features(config, model, dataset, "test"),
        "texts": paths.text_features(model, dataset),
        "coder": paths.coder(model, dataset),
    }
    settings = {
        "settings": config.settings,
        "command": _typed("classify", model, dataset),
        **_threads(config),
    }
    return Part(reads, settings)


def _pairs(config: Config, dataset: str) -> Part:
    paths, model = Paths(config.results), config.text_encoder()
    split = "val" if config.has_val(dataset) else "test"
    reads = {
        "images": paths.image_features(model, dataset, split),
        "coder": paths.coder(model, dataset),
    }
    widest, gate = config.widest_threshold(dataset), config.widest_threshold(dataset)
    if config.datasets[dataset].pair_text_source:
        gate = config.threshold(dataset)
    settings = {
        "gate": gate,
        "widest": widest,
        "variants": sorted({SETTINGS[setting].published_texts for setting in config.settings}),
        "top_k": config.rerank.top_k,
        **_threads(config),
    }
    return Part(reads, settings)


def _generate_pairs(config: Config, dataset: str) -> Part:
    paths = Paths(config.results)
    reads = {
        "manifest": paths.manifest(dataset),
        "pairs": paths.confusable_pairs(dataset),
        "review": _review(config, dataset),
    }
    settings = {
        **_generated(config, dataset),
        "source": config.datasets[dataset].pair_text_source,
        "most": config.generator.max_pairs if config.generator else None,
    }
    return Part(reads, settings, {**_device(config), "access": _access(config)})


def _pair_texts(config: Config, dataset: str) -> Part:
    entry, paths = config.datasets[dataset], Paths(config.results)
    generated = entry.pair_text_source is not None
    texts = paths.generated_pairs(dataset) if generated else entry.pair_source(dataset)
    reads = {
        "manifest": paths.manifest(dataset),
        "pairs": paths.confusable_pairs(dataset),
        "texts": texts,
    }
    return Part(reads, {"dataset": dataset, "generated": generated})


def _rerank(config: Config, model: str, dataset: str) -> Part:
    paths = Paths(config.results)
    stage_one = paths.zero_shot(model, dataset)
    reads = {
        "val": _features(config, model, dataset, "val"),
        "test": _features(config, model, dataset, "test"),
        "texts": paths.text_features(model, dataset),
        "one_to_one": paths.one_to_one(model, dataset),
        "stage_one": stage_one,
        "candidates": stage_one.with_suffix(".json"),
    }
    settings = {
        "settings": config.settings,
        "threshold": config.threshold(dataset),
        "thresholds": config.rerank.thresholds,
        "top_k": config.rerank.top_k,
        "command": _typed("rerank_top", model, dataset),
        **_threads(config),
    }
    return Part(reads, settings)


def _adapter(config: Config, model: str, dataset: str, shots: str) -> Part:
    a = config.adapter
    reads = {
        "pool": _features(config, model, dataset, "shots"),
        "val": _features(config, model, dataset, "val"),
        "test": _features(config, model, dataset, "test"),
        "texts": Paths(config.results).text_features(model, dataset),
    }
    settings = {
        "shots": int(shots),
        "seeds": a.seeds,
        "settings": config.settings,
        "methods": a.methods,
        "published": config.published_name(dataset),
        "part": config.part(dataset),
        "initial": config.initial(dataset),
        "grid": (a.betas, a.alphas, a.rounds),
        "skip": _skips(config),
        "command": _typed("fit_adapters", model, dataset, shots=shots),
        **_threads(config),
    }
    return Part(reads, settings)


def _evaluation(config: Config, model: str, dataset: str) -> Part:
    paths, e = Paths(config.results), config.evaluation
    reads = {
        "test": _features(config, model, dataset, "test"),
        "texts": paths.text_features(model, dataset),
        "coder": paths.coder(model, dataset) if config.class_texts(dataset) else None,
        "shots": _features(config, model, dataset, "shots"),
        "val": _features(config, model, dataset, "val"),
        "others": [paths.image_features(model, d, "val") for d in config.others(dataset)],
    }
    options = {
        "seed": e.seed,
        "text_counts": e.text_counts,
        "draws": e.draws,
        "neighbors": e.neighbors,
        "tsne_images": e.tsne_images,
        "corrections": e.corrections,
        "shots": config.most_shots(),
        "shots_seed": config.first_seed(),
        "skip": _skips(config),
        "part": config.part(dataset),
    }
    command = _typed("evaluate", model, dataset)
    return Part(reads, {"options": options, "command": command, **_threads(config)})


# ---- report --------------------------------------------------------------------------------------


def scope(config: Config) -> dict[str, Any]:
    """What a report is about (`reporting.results.Results`)."""
    return {
        "root": str(config.results),
        "datasets": list(config.datasets),
        "models": list(config.models),
        "shots": config.adapter.shots,
        "few_shot": [d for d in config.datasets if config.few_shot(d)],
        "features": [d for d in config.datasets if config.of_features(d)],
        "with_texts": [d for d in config.datasets if config.class_texts(d)],
        "left_out": list(config.left_out),
    }


def _results(config: Config) -> list[str]:
    """The files that tables and figures show."""
    paths, found = Paths(config.results), []
    for model, dataset in product(config.models, config.datasets):
        if config.class_texts(dataset):
            found += [paths.zero_shot(model, dataset), paths.rerank(model, dataset)]
        found.append(paths.evaluation(model, dataset))
        if config.few_shot(dataset):
            found += [paths.adapter(model, dataset, shots) for shots in config.adapter.shots]
    return sorted(
        str(path.with_suffix(suffix)) for path in found for suffix in (".parquet", ".json")
    )


def _claims(config: Config) -> Part:
    paths = Paths(config.results)
    about = [paths.manifest(d) for d in config.datasets] + [paths.texts(d) for d in config.datasets]
    settings = {"scope": scope(config), "command": "coder-clip claims"}
    return Part({"inputs": [*_results(config), *about]}, settings)


def _about(config: Config) -> list[Path]:
    """What tables and the page name besides results: images, texts and encoders."""
    paths, places = Paths(config.results), list(product(config.models, config.datasets))
    manifests = [paths.manifest(dataset) for dataset in config.datasets]
    texts = [paths.texts(dataset) for dataset in config.datasets]
    features = [paths.text_features(model, dataset) for model, dataset in places]
    return [*manifests, *texts, *features]


def _tables_part(config: Config) -> Part:
    places = product(config.models, config.datasets)
    paths = Paths(config.results)
    tested = [paths.image_features(m, d, "test") for m, d in places]
    return Part(
        {"inputs": [*_results(config), paths.claims, *_about(config), *tested]},
        {"scope": scope(config)},
    )


def _figures_part(config: Config) -> Part:
    sources = {dataset: _source(config, dataset) for dataset in config.datasets}
    settings = {"scope": scope(config), "sources": sources}
    inputs = [*_results(config), Paths(config.results).claims]
    return Part({"inputs": inputs}, settings, {"data_root": _root(config)})


def _page(config: Config) -> Part:
    paths, places = Paths(config.results), product(config.models, config.datasets)
    features = [paths.image_features(m, d, split) for m, d in places for split in config.encoded(d)]
    pairs = [paths.one_to_one_texts(d) for d in config.datasets if config.class_texts(d)]
    tables = _table_files(paths)["out"].values()
    figures = [
        *_figure_files(False)(paths)["out"].values(),
        *_figure_files(True)(paths)["out"].values(),
    ]
    made = [path for files in (*tables, *figures) for path in files]
    inputs = [*_results(config), paths.claims, *_about(config), *pairs, *features, *made]
    drawn = _figures_part(config)
    file, left_out = config.file, list(config.left_out)
    default = file == "config/reproduce.yaml"
    document = config.model_dump(mode="json", exclude_none=True)
    title, note = document.pop("title"), document.pop("note")
    shown = {"title": title, "note": note, "results": str(config.results)}
    shown |= {"only_present": left_out, **document}
    if left_out:
        shown["left_out"] = left_out
    settings = {
        **drawn.settings,
        "title": title,
        "note": note,
        "shown": shown,
        "config_file": "" if default else file,
        "command": "make reproduce" if default else f"make reproduce CONFIG={file}",
    }
    return Part({"inputs": inputs}, settings, drawn.here)


def _table_files(paths: Paths) -> dict[str, Any]:
    return {"out": {n: [paths.table(n, end) for end in (".csv", ".md", ".tex")] for n in TABLES}}


def _figure_files(shows_images: bool) -> Callable[[Paths], dict[str, Any]]:
    names = [name for name, exhibit in FIGURES.items() if exhibit.shows_images == shows_images]

    def files(paths: Paths) -> dict[str, Any]:
        return {
            "out": {name: [paths.figure(name, end) for end in (".png", ".pdf")] for name in names}
        }

    return files


def _one(path: Callable[[Paths], Path]) -> Callable[[Paths], dict[str, Any]]:
    """The file of a rule that makes one."""
    return lambda paths: {"out": path(paths)}


def _two(path: Callable[[Paths], Path]) -> Callable[[Paths], dict[str, Any]]:
    """The files of a rule that makes rows and a document."""
    return lambda paths: {"out": path(paths), "document": path(paths).with_suffix(".json")}


M, D = "{model}", "{dataset}"
_FEW_SHOT = "\n\n".join(
    f"- {name} ({m.label}): {m.about}" for name, m in {**FEW_SHOT, **ABLATIONS}.items()
)
_SOURCES = "\n\n".join(f"- {name} ({', '.join(s.kinds)}): {s.about}" for name, s in SOURCES.items())
RULES: tuple[Rule, ...] = (
    Rule(
        "list_images",
        "texts",
        "manifest:run",
        _one(lambda paths: paths.manifest(D)),
        _manifest,
        "images of {dataset}",
        waits=("images",),
        command="manifest",
        about="List the images of a data set: counts, and path, size and hash of every file of a "
        "folder.",
    ),
    Rule(
        "generate_texts",
        "texts",
        "generate_texts:run",
        _one(lambda paths: paths.generated_texts(D)),
        _generate_texts,
        "texts of {dataset} from the sources that the configuration names",
        exists=lambda config, dataset: bool(config.datasets[dataset].generated(dataset)),
        waits=("text encoder",),
        local=True,
        command="generate-texts",
        about="Generate texts for data sets whose configuration names one of these sources "
        f"(docs/texts.md):\n\n{_SOURCES}",
    ),
    Rule(
        "text_set",
        "texts",
        "texts:run",
        _one(lambda paths: paths.texts(D)),
        _texts_of,
        "texts of {dataset}",
        local=True,
        command="texts",
        about="Collect the texts of a data set, and check them against its classes.",
    ),
    Rule(
        "encode_images",
        "image_features",
        "image_features:run",
        _image_files,
        _encode_images,
        "image features of {dataset} with {model}",
        exists=lambda config, model, dataset: config.features.shards == 1,
        gpu=True,
        waits=("images", "weights"),
        command="image-features",
        about="Encode images: val, test, and the shots of all seeds averaged over augmented views.",
    ),
    Rule(
        "encode_shard",
        "image_features",
        "image_features:run",
        _shard_files,
        _encode_images,
        "image features of {dataset} with {model}, shard {shard} of {shards}",
        exists=lambda config, shards, **place: shards != "1",
        gpu=True,
        waits=("images", "weights"),
        command="image-features",
    ),
    Rule(
        "merge_shards",
        "image_features",
        "merge_shards:run",
        _image_files,
        _merge_shards,
        "image features of {dataset} with {model}: merge",
        exists=lambda config, model, dataset: config.features.shards > 1,
        command="merge-shards",
        about="Merge the shards of image features: the same bytes as one run.",
    ),
    Rule(
        "encode_texts",
        "text_features",
        "text_features:run",
        _one(lambda paths: paths.text_features(M, D)),
        _encode_texts,
        "text features of {dataset} with {model}",
        gpu=True,
        waits=("weights",),
        command="text-features",
        about="Encode every prompt: the text set in its templates, the prompt ensemble, and the "
        "control with random words.",
    ),
    Rule(
        "build_coder",
        "coder",
        "coder:run",
        _one(lambda paths: paths.coder(M, D)),
        _coder,
        "CODER of {dataset} with {model}",
        exists=_has_texts,
        command="coder",
        about="Build the compact CODER of a data set: class sums, name features, Gram matrix.",
    ),
    Rule(
        "classify",
        "zero_shot",
        "zero_shot:run",
        _two(lambda paths: paths.zero_shot(M, D)),
        _zero_shot,
        "zero-shot on {dataset} with {model}",
        exists=_has_texts,
        command="zero-shot",
        about="Stage one and its baselines on test and validation images.",
    ),
    Rule(
        "confusable_pairs",
        "one_to_one",
        "confusable_pairs:run",
        _one(lambda paths: paths.confusable_pairs(D)),
        _pairs,
        "pairs of {dataset} that stage one can confuse",
        exists=_has_texts,
        command="confusable-pairs",
        about="List the pairs of classes that stage one can confuse, most frequent first.",
    ),
    Rule(
        "generate_pairs",
        "one_to_one",
        "generate_pairs:run",
        _one(lambda paths: paths.generated_pairs(D)),
        _generate_pairs,
        "one-to-one texts of {dataset} from a language model",
        exists=lambda config, dataset: (
            bool(config.datasets[dataset].pair_text_source) and config.class_texts(dataset)
        ),
        local=True,
        command="generate-pairs",
        about="Write one-to-one texts with the source that the configuration names.",
    ),
    Rule(
        "pair_texts",
        "one_to_one",
        "pair_texts:run",
        _one(lambda paths: paths.one_to_one_texts(D)),
        _pair_texts,
        "one-to-one texts of {dataset}",
        exists=_has_texts,
        local=True,
        command="pair-texts",
        about="Collect the one-to-one texts of these pairs.",
    ),
    Rule(
        "encode_pairs",
        "one_to_one",
        "pair_features:run",
        _one(lambda paths: paths.one_to_one(M, D)),
        _encode_pairs,
        "one-to-one features of {dataset} with {model}",
        exists=_has_texts,
        gpu=True,
        waits=("weights",),
        command="pair-features",
        about="Encode the one-to-one texts: one difference vector per unordered pair.",
    ),
    Rule(
        "rerank_top",
        "rerank",
        "rerank:run",
        _two(lambda paths: paths.rerank(M, D)),
        _rerank,
        "rerank of {dataset} with {model}",
        exists=_has_texts,
        command="rerank",
        about="Stage two: rerank the top five of uncertain images with one-to-one texts.",
    ),
    Rule(
        "fit_adapters",
        "adapter",
        "adapter:run",
        _two(lambda paths: paths.adapter(M, D, "{shots}")),
        _adapter,
        "{shots}-shot adapters on {dataset} with {model}",
        exists=lambda config, dataset, **place: config.few_shot(dataset),
        command="adapter",
        about="Few-shot without training, with the methods that the configuration names "
        f"(adapter.methods):\n\n{_FEW_SHOT}",
        priority=1,  # the longest jobs: begun as soon as they can, or the last ends alone
    ),
    Rule(
        "evaluate",
        "evaluation",
        "evaluation:run",
        _two(lambda paths: paths.evaluation(M, D)),
        _evaluation,
        "evaluation of {dataset} with {model}",
        command="evaluation",
        about="Ablations over texts; k-NN and retrieval with CODER and original features; t-SNE; "
        "corrections.",
    ),
    Rule(
        "compare",
        "evaluation",
        "claims:run",
        _one(lambda paths: paths.claims),
        _claims,
        "claims",
        local="unless placed",
        command="claims",
        about="Compare both sides of every claim on the rows of a run, and judge it.",
    ),
    Rule(
        "tables",
        "report",
        "table:run",
        _table_files,
        _tables_part,
        "tables",
        local="unless placed",
        command="table",
        about="Write tables as CSV, Markdown and LaTeX.",
    ),
    Rule(
        "figures_of_results",
        "report",
        "figure:run",
        _figure_files(False),
        _figures_part,
        "figures",
        local="unless placed",
        command="figure",
        about="Draw figures as PDF and PNG.",
    ),
    Rule(
        "figures_of_images",
        "report",
        "figure:run",
        _figure_files(True),
        _figures_part,
        "figures that show images",
        local="unless placed",
        command="figure",
    ),
    Rule(
        "page",
        "report",
        "report:run",
        lambda paths: {"out": paths.report, "metrics": paths.metrics},
        _page,
        "report",
        local="unless placed",
        command="report",
        about="Write report.html, one self-contained page, and metrics.json.",
    ),
)
