"""The one configuration, read by the Snakefile and by the command line alike.

A YAML file becomes a typed `Config`. Unknown keys, data sets and models and impossible values are one
clear line before any job starts. `coder-clip schema` prints the JSON schema for editors.
"""

from __future__ import annotations

import datetime
import importlib.util
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from ..baselines.methods import ABLATIONS, FEW_SHOT, MOST_VIEWS, USE_VIEWS
from ..datasets import BUILTIN, PUBLISHED, nearest_dataset, zero_shot_only
from ..datasets.entry import entry
from ..datasets.shot_files import shot_file
from ..errors import UserError, nearest
from ..protocols import DEFAULT_INITIAL, DEFAULT_THRESHOLD, PUBLISHED_INITIAL, PUBLISHED_THRESHOLDS

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0)]
From = Annotated[float, Field(ge=0)]
Step = Annotated[tuple[From, From, Count], Field(description="[from, to, steps]")]
ONLY_PRESENT = "CODER_CLIP_ONLY_PRESENT"  # environment variable: as the key only_present, and comes first
FETCH = "CODER_CLIP_FETCH"  # as the key fetch, and comes first
LEFT_OUT = "CODER_CLIP_LEFT_OUT"  # of a run's jobs: what its plan left out, so that they need not look again
MANY_TEMPLATES, ONE_TEMPLATE = ("one_to_one", "prompts"), ("name", "attribute", "analogous")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


TEXT_KINDS = ("attribute", "analogous", "synonym", "sentence")  # of a class; one_to_one are of pairs
SOURCES = {kind: ("llm", "none") for kind in ("attribute", "analogous", "one_to_one")} | {
    "name": ("names",),
    "synonym": ("llm", "wordnet", "none"),
    "sentence": ("none",),
}


class TextSources(_Strict):
    """Where the texts of each kind come from: llm (needs the section generator), wordnet, a text set, or none."""

    name: Literal["names"] = "names"
    attribute: Literal["llm", "none"] | Path = "none"
    analogous: Literal["llm", "none"] | Path = "none"
    synonym: Literal["llm", "wordnet", "none"] | Path = "none"
    sentence: Literal["none"] | Path = "none"
    one_to_one: Literal["llm", "none"] | Path = "none"


class DatasetConfig(_Strict):
    """One data set: a built-in name, or a folder of class folders."""

    root: Path | None = Field(
        None, description="Folder of class folders; leave out for a built-in or published data set."
    )
    classes: list[str] | None = Field(None, description="Class folders in label order; default: sorted.")
    texts: TextSources | Literal["names"] | Path | None = Field(
        None,
        description="Text set; default data/texts/{name}.json; 'names' uses the class names alone; or a source a "
        "kind (docs/texts.md).",
    )
    one_to_one: Path | None = Field(
        None, description="One-to-one texts; default data/texts/{name}.one_to_one.json."
    )
    templates: dict[str, str | list[str]] = Field(
        {}, description="Sentences for name, attribute, analogous, one_to_one, prompts, with {class} in each."
    )
    threshold: Share | None = Field(
        None,
        description="Rerank gate (softmax top-1 minus top-2); default: as published, 0.1 for other data sets.",
    )
    split: str | None = Field(
        None,
        description="Rule that splits a published data set (docs/data.md); default: the first whose files are there.",
    )
    shot_files: Path | None = Field(
        None,
        description="Folder with the shots of published runs, CoOp's split_fewshot: shot_{n}-seed_{s}.pkl or .json; "
        "default: drawn by the seeds (docs/data.md).",
    )
    views: Count = Field(
        20, description="Augmented views a shot image is averaged over (paper: 20, Pets 10, ImageNet 1)."
    )
    few_shot: bool = Field(
        True, description="false: zero-shot only, as every data set that has a test split and no other."
    )

    @field_validator("texts", mode="before")
    @classmethod
    def _sources(cls, value: Any) -> Any:
        """One clear line for a wrong source; of a union pydantic would tell of every alternative."""
        for kind, source in value.items() if isinstance(value, dict) else ():
            if kind not in SOURCES:
                raise ValueError(f"texts.{kind}: no kind of text{nearest(str(kind), SOURCES)}")
            if source not in SOURCES[kind] and not (kind != "name" and str(source).endswith(".json")):
                file = "" if kind == "name" else "; a text set is a .json file"
                raise ValueError(
                    f"texts.{kind}: '{source}' is no source{nearest(str(source), SOURCES[kind])}{file}"
                )
        return value

    def text_sources(self, name: str) -> dict[str, Path | str]:
        """For each kind of the general texts of data set ``name`` a file, "llm" or "wordnet"; no entry: no texts."""
        if isinstance(self.texts, TextSources):
            given = {kind: getattr(self.texts, kind) for kind in TEXT_KINDS}
            return {kind: source for kind, source in given.items() if source != "none"}
        path = self.text_source(name)
        return {} if path is None else dict.fromkeys(TEXT_KINDS, path)

    def text_source(self, name: str) -> Path | None:
        """The one file the texts of data set ``name`` come from; None for class names alone, or a source a kind."""
        if self.texts == "names" or isinstance(self.texts, TextSources):
            return None
        return Path(self.texts or f"data/texts/{name}.json")

    def text_files(self, name: str) -> list[Path]:
        """All files that its general texts come from."""
        sources = self.text_sources(name).values()
        return list(dict.fromkeys(source for source in sources if isinstance(source, Path)))

    def generated(self, name: str) -> list[str]:
        """Kinds of its general texts that are made and not read: by a language model or from WordNet."""
        return [kind for kind, source in self.text_sources(name).items() if isinstance(source, str)]

    def pair_source(self, name: str) -> Path | None:
        """The file of its one-to-one texts; None where there is none, and stage two changes nothing."""
        if isinstance(self.texts, TextSources):
            return self.texts.one_to_one if isinstance(self.texts.one_to_one, Path) else self.one_to_one
        path = Path(self.one_to_one or f"data/texts/{name}.one_to_one.json")
        return None if self.one_to_one is None and (self.texts is not None or not path.is_file()) else path

    @property
    def generates_pairs(self) -> bool:
        """Whether a language model writes its one-to-one texts."""
        return isinstance(self.texts, TextSources) and self.texts.one_to_one == "llm"


class ModelConfig(_Strict):
    """One encoder: open_clip name and pretrained tag, hub id, local checkpoint, or local-dir:PATH."""

    model: str = Field(description="open_clip name, hf-hub:ORG/NAME or local-dir:PATH.")
    pretrained: str | None = Field(
        None, description="open_clip tag or a checkpoint file (.safetensors, .pt)."
    )
    precision: Literal["fp64", "fp32", "tf32", "amp", "bf16", "fp16"] = Field(
        "fp32",
        description="What is computed in. fp64: features are the same bytes on every processor, for small encoders. "
        "tf32 (float32 that a GPU multiplies with 10 binary places), amp (bfloat16 products, float32 weights) and bf16 "
        "are faster on a GPU.",
    )
    quick_gelu: bool | None = Field(
        None,
        description="For a checkpoint file: whether it was trained with QuickGELU (OpenAI, MetaCLIP, DFN).",
    )


class FeaturesConfig(_Strict):
    """How features are extracted."""

    batch_size: Count = 64
    workers: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Loader processes; 0 loads in the main process. Default: none on a CPU, with a GPU one per core up "
        "to 8. They change no result.",
    )
    cache: bool = Field(
        True,
        description="Keep features by the content of images and texts in the user's cache folder, so that one more "
        "photo encodes one photo. Not used in Slurm jobs.",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps.")
    threads: Count = Field(
        1,
        description="CPU threads of every job. A number and not the machine's own, because it can change the last "
        "bit; more than cores crawls. To use all cores without a change of the result: shards.",
    )
    shards: Count = Field(
        1, description="Jobs one split's extraction is spread over; the result is the same."
    )
    on_error: Literal["fail", "skip"] = Field(
        "fail", description="An unreadable image stops the job, or is listed."
    )


class RerankConfig(_Strict):
    """Stage two."""

    top_k: Annotated[int, Field(ge=2)] = 5
    top_ks: list[Annotated[int, Field(ge=2)]] = Field(
        [2, 3, 4, 5, 7, 10],
        min_length=1,
        description="What the table of candidates tries in the place of top_k. One-to-one texts are for the pairs "
        "among the top_k likeliest; the table says how many of a larger number's pairs have some.",
    )
    thresholds: list[Share] = Field(
        [round(0.05 * i, 2) for i in range(21)],
        min_length=1,
        description="Grid of the threshold figure, and what the clean setting chooses from on val.",
    )


class AdapterConfig(_Strict):
    """Few-shot: methods, shots, seeds and the search grid of the CODER-Adapter."""

    methods: list[str] = Field(
        [*FEW_SHOT, *ABLATIONS],
        description="Few-shot methods beside zero-shot CLIP: "
        + ", ".join([*FEW_SHOT, *ABLATIONS])
        + ". One more changes no other's numbers.",
        json_schema_extra={"items": {"enum": [*FEW_SHOT, *ABLATIONS]}},
    )
    shots: list[Count] = [1, 2, 4, 8, 16]
    seeds: list[Seed] = [1, 2, 3]
    repeat_shots: bool = Field(
        False,
        description="Draw images again where a class has fewer than the shots (as published), else stop.",
    )
    betas: Step = Field(
        (0.1, 200, 500),
        description="From, to (left out) and steps that the CODER-Adapter and its ablations search; the other methods "
        "search what their authors do.",
    )
    alphas: Step = Field((0.1, 20, 50), description="As betas.")
    rounds: Count = Field(
        3, description="As betas; each round but the first over 0.5 to 1.5 times the winner."
    )
    initial: tuple[float, float] | None = Field(
        None,
        description="(alpha, beta) before the search; default: as published, (1, 1) for other data sets.",
    )

    @field_validator("methods")
    @classmethod
    def _known_methods(cls, value: list[str]) -> list[str]:
        known = [*FEW_SHOT, *ABLATIONS]
        for method in value:
            if method not in known:
                raise ValueError(f"adapter.methods: no method '{method}'{nearest(method, known)}")
        return value


class EvaluationConfig(_Strict):
    """Intervals, ablations and feature quality."""

    bootstrap: Count = Field(2000, description="Resamples of a 95 % interval.")
    seed: Seed = 0
    template_ensemble: bool = Field(
        True, description="CLIP with open_clip's 80 templates as a baseline: 80 sentences a class to encode."
    )
    text_counts: list[Count] = Field(
        [1, 2, 4, 6, 8], description="Texts a class of the curve; none and all texts are always in it."
    )
    draws: Count = Field(5, description="Random text subsets a count.")
    random_draws: Annotated[int, Field(ge=2)] = Field(
        10, description="Draws of random words, the control for what attribute texts say."
    )
    neighbors: Count = Field(5, description="k of the k-NN accuracy.")
    tsne_images: Count = 600
    corrections: Count = 3


class Prices(_Strict):
    """What the model costs, as its maker had it on some day."""

    date: datetime.date = Field(description="When these prices were looked up.")
    input: From = Field(description="For a million tokens of prompts.")
    output: From = Field(description="For a million tokens of answers.")
    batch: Share = Field(0.5, description="Not used any more: of the Batch API.", deprecated=True)
    currency: str = Field("USD", min_length=1, max_length=8)


class TextCounts(_Strict):
    """How many texts to ask for, a class (one_to_one: a side of a pair)."""

    attribute: Count = 10
    analogous: Count = 5
    synonym: Count = 5
    one_to_one: Count = 5


class GeneratorConfig(_Strict):
    """The language model behind the source 'llm'. Its key comes from the environment and from nowhere else."""

    model: str = Field(min_length=1, description="Name of the model, as the server knows it.")
    base_url: str | None = Field(
        None,
        description="Server that speaks OpenAI's protocol (…/v1: vLLM, Ollama, llama.cpp); default: OpenAI.",
    )
    key_variable: str | None = Field(
        None,
        description="Environment variable that holds the key; default: OPENAI_API_KEY for OpenAI, else no key.",
    )
    temperature: From | None = Field(0.7, description="null: not sent, for models that do not take it.")
    seed: Seed | None = Field(0, description="null: not sent.")
    max_tokens: Count | None = Field(
        1000,
        description="Length of one answer; null: not sent. Servers that call it otherwise: null here, and "
        "max_completion_tokens below 'extra' (for OpenAI that is done).",
    )
    extra: dict[str, Any] = Field(
        {}, description="More parameters of each request, as the server takes them."
    )
    headers: dict[str, str] = Field(
        {}, description="More headers of each request; $NAME: the value of that environment variable."
    )
    structured: Literal["auto", "json_schema", "list"] = Field(
        "auto",
        description="How answers are asked for; auto: by a JSON schema where the server takes one, else as a JSON "
        "object; list: free text, as in the paper.",
    )
    counts: TextCounts = TextCounts()
    encoder: str | None = Field(
        None, description="Model that tells which analogous classes are too similar; default: the only one."
    )
    encoder_as_published: str | None = Field(
        None,
        description="Model of the published filter of analogous classes (the authors': ViT-L-14), for the setting "
        "as_published; default: that setting has the same classes as the others.",
    )
    max_pairs: Count | None = Field(
        1000,
        description="Pairs to write one-to-one texts for, most frequent first; null: all that can be confused.",
    )
    repeats: Annotated[int, Field(ge=0)] = Field(
        3, description="How often to ask again for what cannot be used."
    )
    on_failure: Literal["stop", "skip"] = Field(
        "stop", description="When a class gets no usable text in the end: stop, or go on without."
    )
    max_in_flight: Count = Field(8, description="Requests under way at a time.")
    timeout: Annotated[float, Field(gt=0)] = Field(
        120, description="Seconds until an answer has to be there."
    )
    retries: Annotated[int, Field(ge=0)] = Field(
        6, description="How often to try again when the server has trouble."
    )
    prices: Prices | None = None
    max_cost: From | None = Field(
        None,
        description="Money that all answers in the store may have cost; a run stops before it spends more.",
    )
    batch: Literal[False] = Field(
        False, description="Not used any more: the Batch API is gone.", deprecated=True
    )
    poll: Annotated[float, Field(gt=0)] = Field(
        60, description="Not used any more: of the Batch API.", deprecated=True
    )
    answers: Path = Field(
        Path("data/texts/answers"), description="Folder of the answers: kept for good, and shared."
    )

    @property
    def form(self) -> Literal["json", "list"]:
        """Of an answer."""
        return "list" if self.structured == "list" else "json"

    @property
    def token_limit(self) -> int | None:
        """Of one answer, by whatever name the server knows it."""
        return self.max_tokens or self.extra.get("max_completion_tokens")

    def parameters(self, attempt: int) -> dict[str, Any]:
        """What is sent besides model and messages. attempt: with the same seed a server would repeat its mistake."""
        given = {"temperature": self.temperature, "max_tokens": self.max_tokens, **self.extra}
        if self.seed is not None:
            given["seed"] = self.seed + attempt
        return {key: value for key, value in given.items() if value is not None}

    @field_validator("key_variable")
    @classmethod
    def _no_key(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):
            raise ValueError(
                "generator.key_variable: give the NAME of an environment variable, never the key itself"
            )
        return value

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s@?#]+", value):
            raise ValueError(
                "generator.base_url: give an address such as http://localhost:8000/v1, without user, password or key"
            )
        return value

    @field_validator("extra")
    @classmethod
    def _no_secrets(cls, value: dict[str, Any]) -> dict[str, Any]:
        if place := _secret(value, "generator.extra"):
            raise ValueError(f"{place}: keys come from the environment only (key_variable, headers)")
        own = ("model", "messages", "n", "stream", "response_format", "seed", "temperature", "max_tokens")
        for key in value:
            if key in own:
                raise ValueError(f"generator.extra.{key}: is set by coder-clip itself")
        limit = value.get("max_completion_tokens", 1)
        if type(limit) is not int or limit < 1:
            raise ValueError(
                "generator.extra.max_completion_tokens: give a whole number of tokens, at least 1"
            )
        return value

    @field_validator("headers")
    @classmethod
    def _no_secret_headers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, given in value.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not (given.isascii() and given.isprintable()):
                raise ValueError(
                    "generator.headers: names are letters, digits and '-', values printable ASCII"
                )
            variable = re.fullmatch(r"\$[A-Z_][A-Z0-9_]*", given) is not None
            if not variable and (given.startswith("$") or _secret({name: given}, "")):
                raise ValueError(f"generator.headers.{name}: name an environment variable: $NAME")
        return value

    @field_validator("batch", mode="before")
    @classmethod
    def _no_batch(cls, value: Any) -> Any:
        if value is True:
            raise ValueError(
                "generator.batch: the Batch API is gone; leave the key out, answers come at once"
            )
        return value

    @model_validator(mode="after")
    def _priced(self) -> GeneratorConfig:
        if self.max_tokens is not None and "max_completion_tokens" in self.extra:
            raise ValueError(
                "generator.max_tokens: give it or extra.max_completion_tokens, the other one null"
            )
        if self.max_cost is not None and self.prices is None:
            raise ValueError("generator.max_cost: needs generator.prices, or no cost can be computed")
        if self.max_cost is not None and self.token_limit is None:
            raise ValueError("generator.max_cost: needs generator.max_tokens, or an answer may cost anything")
        return self


def _secret(value: Any, place: str) -> str | None:
    """Where in nested values something is that looks like a key or is called one."""
    if isinstance(value, str):
        return place if re.match(r"\s*(?:(?:sk|pk)-\w|bearer\s)", value, flags=re.I) else None
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        called = re.search(
            r"key|secret|password|authorization|bearer|auth.?token|access.?token|cookie", str(key), re.I
        )
        if found := f"{place}.{key}" if called else _secret(item, f"{place}.{key}"):
            return found
    return None


class Config(_Strict):
    """Everything that decides a run."""

    title: str = "CODER"
    note: str = Field("", description="Shown on top of the report: what these numbers are evidence of.")
    results: Path = Path("results")
    data_root: Path | None = Field(
        None,
        description="Folder that holds the published data sets; the variable CODER_CLIP_DATA comes first. "
        "Which folder it is changes no result.",
    )
    only_present: bool = Field(
        False,
        description="Leave out published data sets of which neither all images are here nor, in the results, all image "
        "features; CODER_CLIP_ONLY_PRESENT and --config only_present=true come first.",
    )
    fetch: bool = Field(
        False,
        description="Download weights and the published data sets that may be downloaded as part of a run; "
        "CODER_CLIP_FETCH and --config fetch=true come first.",
    )
    datasets: dict[str, DatasetConfig]
    models: dict[str, ModelConfig]
    settings: list[Literal["as_published", "corrected", "clean"]] = ["as_published", "corrected", "clean"]
    features: FeaturesConfig = FeaturesConfig()
    rerank: RerankConfig = RerankConfig()
    adapter: AdapterConfig = AdapterConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    generator: GeneratorConfig | None = None
    _left_out: tuple[str, ...] = PrivateAttr(())

    @property
    def left_out(self) -> tuple[str, ...]:
        """Data sets that are not here, where only those that are were asked for."""
        return self._left_out

    def text_encoder(self) -> str:
        """The model that compares names: of analogous classes with the label set, of a class with WordNet's senses."""
        return (self.generator and self.generator.encoder) or next(iter(self.models))

    def text_encoders(self) -> list[str]:
        """That and, where there is one, the model of the published filter."""
        published = self.generator and self.generator.encoder_as_published
        return [self.text_encoder(), *([published] if published else [])]

    def compares_names(self, dataset: str) -> bool:
        """Whether making the texts of the data set takes an encoder."""
        sources = self.datasets[dataset].text_sources(dataset)
        return sources.get("analogous") == "llm" or sources.get("synonym") == "wordnet"

    def published(self, dataset: str) -> bool:
        """Whether it is a published data set, read from the data root."""
        return self.datasets[dataset].root is None and dataset in PUBLISHED

    def has_val(self, dataset: str) -> bool:
        """Whether the data set has images to choose on; without, the clean setting keeps the defaults."""
        return self.datasets[dataset].root is not None or not zero_shot_only(
            dataset, self.datasets[dataset].split
        )

    def few_shot(self, dataset: str) -> bool:
        """Whether the few-shot methods run on the data set."""
        return self.datasets[dataset].few_shot and self.has_val(dataset)

    def encoded(self, dataset: str) -> list[str]:
        """What is encoded of it: shots, val, test, as far as something needs them."""
        return ["shots"] * self.few_shot(dataset) + ["val"] * self.has_val(dataset) + ["test"]

    def threshold(self, dataset: str) -> float:
        """Rerank gate of the published settings."""
        given = self.datasets[dataset].threshold
        return PUBLISHED_THRESHOLDS.get(dataset, DEFAULT_THRESHOLD) if given is None else given

    def widest_threshold(self, dataset: str) -> float:
        """The widest gate that some setting or figure uses: it decides which pairs stage two can compare."""
        return max(self.threshold(dataset), *self.rerank.thresholds)

    def kept_views(self, dataset: str) -> int:
        """How many augmented views of a shot are kept one by one: as many as there are, up to MOST_VIEWS, for methods
        that need them, and none for others."""
        needed = set(USE_VIEWS) & set(self.adapter.methods)
        return min(self.datasets[dataset].views, MOST_VIEWS) if needed else 0

    def initial(self, dataset: str) -> tuple[float, float]:
        """(alpha, beta) of the adapters before the search."""
        return self.adapter.initial or PUBLISHED_INITIAL.get(dataset, DEFAULT_INITIAL)

    @field_validator("datasets", mode="before")
    @classmethod
    def _datasets(cls, value: Any) -> Any:
        return _by_name("datasets", value)

    @field_validator("models", mode="before")
    @classmethod
    def _models(cls, value: Any) -> Any:
        value = _by_name("models", value)
        if isinstance(value, dict):  # the embedded model needs no description
            value = {
                k: {"model": "local-dir:data/mini", "precision": "fp64"} if k == "mini" and not v else v
                for k, v in value.items()
            }
            for name, given in value.items():
                if given == {}:
                    raise ValueError(
                        f"models.{name}.model: name the encoder (open_clip name, hf-hub:… or local-dir:…); only 'mini' "
                        f"needs none{nearest(str(name), ['mini'], listed=False)}"
                    )
        return value

    @model_validator(mode="after")
    def _known(self) -> Config:
        for kind, names in (("datasets", self.datasets), ("models", self.models)):
            if not names:
                raise ValueError(f"{kind}: name at least one")
            for name in names:
                if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                    raise ValueError(
                        f"{kind}.{name}: use letters, digits, '.', '_' and '-' (it names folders)"
                    )
        for name, dataset in self.datasets.items():
            if dataset.root is None and name not in BUILTIN:
                raise ValueError(
                    f"datasets.{name}: no built-in data set{nearest_dataset(name)}; your own needs 'root'"
                )
            if dataset.split is not None:
                if dataset.root is not None or name not in PUBLISHED:
                    raise ValueError(f"datasets.{name}.split: only a published data set has several")
                try:
                    entry(name).only(dataset.split)
                except UserError as error:
                    raise ValueError(f"datasets.{name}.split: {error}") from error
            if dataset.root is None and dataset.classes is not None:
                raise ValueError(f"datasets.{name}.classes: only a folder's classes can be chosen ('root')")
            for key, sentences in dataset.templates.items():
                if key not in ONE_TEMPLATE + MANY_TEMPLATES:
                    hint = nearest(key, ONE_TEMPLATE + MANY_TEMPLATES)
                    raise ValueError(f"datasets.{name}.templates.{key}: unknown template{hint}")
                if sentences == [] or (isinstance(sentences, list) and key in ONE_TEMPLATE):
                    many = "one sentence or a list" if key in MANY_TEMPLATES else "one sentence, no list"
                    raise ValueError(f"datasets.{name}.templates.{key}: give {many}")
                for sentence in [sentences] if isinstance(sentences, str) else sentences:
                    need = {"class"} | ({key} if key in ("attribute", "analogous", "one_to_one") else set())
                    for field in sorted(need):
                        if f"{{{field}}}" not in sentence:
                            raise ValueError(
                                f"datasets.{name}.templates.{key}: '{sentence}' lacks {{{field}}}"
                            )
        for name, model in self.models.items():
            known = open_clip_names()
            if ":" not in model.model and model.model not in known:
                raise ValueError(
                    f"models.{name}: open_clip has no model '{model.model}'{nearest(model.model, known)}"
                )
            if model.model in known and model.pretrained is None:
                raise ValueError(f"models.{name}: name the weights with 'pretrained' (open_clip tag or file)")
            if str(model.pretrained).startswith("local-dir:"):
                raise ValueError(f"models.{name}: 'local-dir:' stands in 'model' (model: {model.pretrained})")
            if model.model.startswith("local-dir:") and not Path(model.model[10:]).is_dir():
                raise ValueError(f"models.{name}: no folder {model.model[10:]}")
        for name, dataset in self.datasets.items():
            if dataset.generates_pairs and dataset.one_to_one is not None:
                raise ValueError(f"datasets.{name}: one_to_one is given twice, here and in 'texts'")
            if self.generator is None and (
                dataset.generates_pairs or "llm" in dataset.text_sources(name).values()
            ):
                raise ValueError(
                    f"datasets.{name}.texts: the source 'llm' needs a section 'generator:' (docs/texts.md)"
                )
        for key in ("encoder", "encoder_as_published") if self.generator else ():
            if (given := getattr(self.generator, key)) not in (None, *self.models):
                raise ValueError(
                    f"generator.{key}: no model '{given}' here{nearest(str(given), self.models)}"
                )
        compares = any(d.text_sources(n).get("analogous") == "llm" for n, d in self.datasets.items())
        if self.generator and compares and len(self.models) > 1 and self.generator.encoder is None:
            raise ValueError(
                "generator.encoder: name the model that compares analogous classes; if it were the first of several, "
                "leaving that out would change all numbers"
            )
        for name, dataset in self.datasets.items():
            if dataset.shot_files is not None and self.few_shot(name):
                try:
                    for shots in self.adapter.shots:
                        for seed in self.adapter.seeds:
                            shot_file(dataset.shot_files, shots, seed)
                except UserError as error:
                    raise ValueError(f"datasets.{name}.shot_files: {error}") from error
        once: dict[str, list[Any]] = {
            "adapter.methods": self.adapter.methods,
            "adapter.shots": self.adapter.shots,
            "adapter.seeds": self.adapter.seeds,
            "settings": list(self.settings),
        }
        for key, values in once.items():
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{key}: give at least one, each once")
        for key in ("betas", "alphas"):
            low, high, _ = getattr(self.adapter, key)
            if low > high:
                raise ValueError(
                    f"adapter.{key}: from {low:g} to {high:g} falls; the larger one comes second"
                )
        return self


def _by_name(key: str, value: Any) -> Any:
    """A list of names as a mapping; what has nothing behind its name as an empty mapping."""
    if isinstance(value, dict):
        return {k: {} if v is None else v for k, v in value.items()}
    if not isinstance(value, list):
        return value
    for name in value:
        if not isinstance(name, str):
            raise ValueError(
                f"{key}: {name!r} in the list is no name; with values write 'name: {{…}}', no dash"
            )
    if len(set(value)) != len(value):
        twice = next(name for name in value if value.count(name) > 1)
        raise ValueError(f"{key}: '{twice}' is listed twice")
    return {name: {} for name in value}


def open_clip_names() -> list[str]:
    """Architectures of the installed open_clip, read from its folder: importing it takes seconds."""
    spec = importlib.util.find_spec("open_clip")
    assert spec is not None
    assert spec.origin is not None
    return sorted(p.stem for p in (Path(spec.origin).parent / "model_configs").glob("*.json"))


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice: of two, plain YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f"the key '{key.value}' is given twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_config(path: str | Path, absent: bool = False) -> Config:
    """Read and check a configuration file. absent: keep the data sets that are not here, whatever only_present says.

    Raises UserError, one line, for a missing file, invalid YAML, unknown keys and impossible values.
    """
    path = Path(path)
    if not path.is_file():
        there = sorted(str(p) for p in Path("config").glob("*.yaml"))
        raise UserError(
            f"no configuration file {path}"
            + (
                f" (there are: {', '.join(there)})"
                if there
                else "; go to the project's folder (where its Snakefile lies), or name a file with --config"
            )
        )
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise UserError(f"{path} must hold 'datasets:', 'models:' and so on (see config/reproduce.yaml)")
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{path}: {_first_error(error)}") from error
    if said := os.environ.get(FETCH):
        config = config.model_copy(update={"fetch": switched(FETCH, said)})
    said = os.environ.get(ONLY_PRESENT)
    only = switched(ONLY_PRESENT, said) if said else config.only_present
    return _present(config, path) if only and not absent else config


def switched(name: str, said: str) -> bool:
    """Whether what a variable or argument says is on; UserError where it is neither that nor off."""
    if said.lower() in ("1", "true", "yes", "on"):
        return True
    if said.lower() in ("0", "false", "no", "off", ""):
        return False
    raise UserError(f"{name}: '{said}' is neither true (1, yes, on) nor false (0, no, off)")


def _present(config: Config, path: Path) -> Config:
    """Without the published data sets that are not here and will not be fetched. UserError where none is left."""
    from ..datasets.published import data_root
    from ..datasets.supply import absent_data, fetchable

    if (known := os.environ.get(LEFT_OUT)) is not None:
        absent = [name for name in config.datasets if name in known.split(",")]
    else:
        absent = absent_data(config, whole=True)
        if config.fetch:
            absent = [name for name in absent if not fetchable(name, data_root(config.data_root))]
    here = {name: given for name, given in config.datasets.items() if name not in absent}
    if not here:
        root = data_root(config.data_root)
        raise UserError(f"{path}: none of its data sets is in {root}; 'coder-clip data get' gets some")
    found = config.model_copy(update={"datasets": here})
    found._left_out = tuple(absent)
    return found


def _first_error(error: ValidationError) -> str:
    """pydantic's errors in one line, the nearest known key offered for an unknown one."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"unknown key '{where}'{nearest(str(item['loc'][-1]), _keys_at(item['loc'][:-1]))}")
        elif item["type"] == "value_error":
            lines.append(str(item["ctx"]["error"]))
        elif item["type"] == "literal_error":
            known = re.findall(r"'([^']*)'", item["ctx"]["expected"])
            lines.append(f"{where}: '{item['input']}' is unknown{nearest(str(item['input']), known)}")
        else:
            lines.append(f"{where}: {item['msg'][0].lower()}{item['msg'][1:]} (got {item['input']!r})")
    return "; ".join(dict.fromkeys(lines))


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    sections: dict[str, type[BaseModel]] = {
        "datasets": DatasetConfig,
        "models": ModelConfig,
        "features": FeaturesConfig,
        "rerank": RerankConfig,
        "adapter": AdapterConfig,
        "evaluation": EvaluationConfig,
        "generator": GeneratorConfig,
    }
    return list((sections[str(location[0])] if location else Config).model_fields)


def schema() -> dict[str, Any]:
    """JSON schema of the configuration file, with the shorthand lists that `load_config` takes."""
    document = Config.model_json_schema()
    for key in ("datasets", "models"):
        table = document["properties"].pop(key)
        names = {"type": "array", "items": {"type": "string"}}
        table["additionalProperties"] = {"anyOf": [table["additionalProperties"], {"type": "null"}]}
        document["properties"][key] = {"anyOf": [table, names]}
    return document
