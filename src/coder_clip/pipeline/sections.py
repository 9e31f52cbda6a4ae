"""The sections of a configuration: data sets, models, features, rerank, adapter, evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ..baselines.methods import ABLATIONS, FEW_SHOT
from ..datasets import WITH_ENTRY
from ..datasets.entry import entry
from ..encoders import families
from ..encoders.spec import EncoderSpec, Precision
from ..errors import nearest
from ..foundation.strict import Count, From, Seed, Strict
from ..protocols import TOP_K
from ..texts.kinds import KINDS, OF_CLASS
from ..texts.sources import SOURCES, of_kind

Share = Annotated[float, Field(ge=0, le=1)]
Steps = Annotated[int, Field(ge=1, le=5000)]  # a search keeps a number for each point of its grid
Step = Annotated[tuple[From, From, Steps], Field(description="[from, to, steps]")]
MANY_TEMPLATES = ("one_to_one", "prompts")
# templates of pairs are several sentences, all others are one
ONE_TEMPLATE = tuple(
    dict.fromkeys(k.template for k in KINDS.values() if k.template and not k.of_pair)
)
# class names come from nowhere else; every other kind can be left out ("none")
KIND_SOURCES = {kind: [*of_kind(kind), "none"] if kind != "name" else ["names"] for kind in KINDS}


def _kind_schema() -> dict[str, Any]:
    """JSON schema of a source for each kind of text."""
    file = {"type": "string", "pattern": r"\.json$"}
    kinds: dict[str, Any] = {}
    for kind, sources in KIND_SOURCES.items():
        allowed: list[Any] = [{"enum": sources}]
        if kind != "name":
            allowed.append(file)
        kinds[kind] = {"anyOf": allowed}
    return {"type": "object", "properties": kinds, "additionalProperties": False}


class DatasetConfig(Strict):
    """One data set: a built-in name, or a folder of class folders."""

    root: Path | None = Field(
        None, description="Folder of class folders; omit it for a built-in or published data set."
    )
    features: Path | None = Field(
        None,
        description="Folder of features instead of images, in the form of Tip-Adapter's caches "
        "(docs/true_clip.md).",
    )
    classes: list[str] | None = Field(
        None,
        description="Class folders in label order; default: sorted. Of features: class names in "
        "label order, unless the data set is a published one.",
    )
    corrections: Path | None = Field(
        None,
        description="Corrected labels of a folder's photos, a CSV file with image, from and to "
        "(docs/photos.md); 'coder-clip explore' writes it.",
    )
    groups: Path | None = Field(
        None,
        description="Groups of images that are one observation (a scene, a video), instead of near "
        "twins that are looked for: a CSV file with image and group; of features also a JSON file "
        "with a group for each row (docs/true_clip.md).",
    )
    split_file: Path | None = Field(
        None,
        description="Of features: the split file, in the form of CoOp's, that names the images of "
        "the rows.",
    )
    texts: dict[str, str] | Literal["names"] | Path | None = Field(
        None,
        description="Text set; default data/texts/{name}.json; 'names' uses the class names alone; "
        f"or a source per kind: {', '.join(SOURCES)}, none or a text set (docs/texts.md).",
        json_schema_extra={"anyOf": [_kind_schema(), {"type": "string"}, {"type": "null"}]},
    )
    one_to_one: Path | None = Field(
        None, description="One-to-one texts; default data/texts/{name}.one_to_one.json."
    )
    templates: dict[str, str | list[str]] = Field(
        {},
        description="Sentences for name, attribute, analogous, one_to_one, prompts; each needs "
        "{class}.",
    )
    threshold: Share | None = Field(
        None,
        description="Rerank gate (softmax top-1 minus top-2); default: as published, 0.1 for other "
        "data sets.",
    )
    split: str | None = Field(
        None,
        description="Rule that splits a published data set (docs/data.md); default: the first one.",
    )
    views: Count = Field(
        20,
        description="Augmented views that a shot is averaged over (paper: 20, Pets 10, ImageNet "
        "1).",
    )
    few_shot: bool = Field(
        True, description="false: zero-shot only, as for every data set that has only a test split."
    )

    @field_validator("texts", mode="before")
    @classmethod
    def _sources(cls, value: Any) -> Any:
        """Check the source of each kind.

        ValueError, in one clear line, for a wrong source, where pydantic would list all
        alternatives.
        """
        if not isinstance(value, dict):
            return value
        for kind, source in value.items():
            if kind not in KIND_SOURCES:
                raise ValueError(
                    f"texts.{kind}: unknown kind of text{nearest(str(kind), KIND_SOURCES)}"
                )
            known = KIND_SOURCES[kind]
            is_file = kind != "name" and str(source).endswith(".json")
            if source not in known and not is_file:
                file = "; a text set is a .json file"
                if kind == "name":
                    file = ""
                raise ValueError(
                    f"texts.{kind}: unknown source '{source}'{nearest(str(source), known)}{file}"
                )
        # the last source in KIND_SOURCES is the default of a kind: "none", or the class names
        return {kind: str(value.get(kind, known[-1])) for kind, known in KIND_SOURCES.items()}

    def text_sources(self, name: str) -> dict[str, Path | str]:
        """Kind -> file or source of the class texts of data set ``name``; a kind without texts has
        no entry.
        """
        if isinstance(self.texts, dict):
            given = {kind: self.texts[kind] for kind in OF_CLASS}
            return {
                kind: _file_or_source(source) for kind, source in given.items() if source != "none"
            }
        path = self.text_source(name)
        if path is None:
            return {}
        return dict.fromkeys(OF_CLASS, path)

    def text_source(self, name: str) -> Path | None:
        """The one file that has all general texts of data set ``name``; None for class names alone,
        or if each kind has its own source.
        """
        if self.texts == "names" or isinstance(self.texts, dict):
            return None
        return Path(self.texts or self._own_set(name, ""))

    def text_files(self, name: str) -> list[Path]:
        """All files with general texts of data set ``name``."""
        sources = self.text_sources(name).values()
        return list(dict.fromkeys(source for source in sources if isinstance(source, Path)))

    def generated(self, name: str) -> dict[str, str]:
        """Kind -> source, for the general texts of data set ``name`` that a source generates."""
        return {kind: s for kind, s in self.text_sources(name).items() if isinstance(s, str)}

    @property
    def pair_text_source(self) -> str | None:
        """The source that makes the one-to-one texts of the data set; None if they are read from a
        file, or there are none.
        """
        given = "none"
        if isinstance(self.texts, dict):
            given = self.texts["one_to_one"]
        if given not in SOURCES:
            return None
        return given

    def pair_source(self, name: str) -> Path | None:
        """The file of one-to-one texts of data set ``name``.

        None if there is none: then stage two changes nothing.
        """
        if isinstance(self.texts, dict):
            given = _file_or_source(self.texts["one_to_one"])
            if isinstance(given, Path):
                return given
            return self.one_to_one
        # the default file counts only if it exists and no other texts were chosen
        path = Path(self.one_to_one or self._own_set(name, ".one_to_one"))
        is_default = self.one_to_one is None
        if is_default and (self.texts is not None or not path.is_file()):
            return None
        return path

    def _own_set(self, name: str, part: str) -> str:
        """The file in data/texts of data set ``name``, or of the published data set whose texts it
        shares.

        part: "", or ".one_to_one".
        """
        # a folder of your own is not the published data set, even with its name
        published = self.root is None and name in WITH_ENTRY
        shared = entry(name).texts if published else None
        return f"data/texts/{shared or name}{part}.json"


def _file_or_source(given: str) -> Path | str:
    """The path of a file; a source, or "none", as it is."""
    if given in SOURCES or given == "none":
        return given
    return Path(given)


class ModelConfig(Strict):
    """One encoder, named in the way of its family."""

    model: str = Field(description=f"{families.names()}.")
    pretrained: str | None = Field(
        None, description="For a plain name: tag or a checkpoint file (.safetensors, .pt)."
    )
    precision: Precision = Field(
        "tf32",
        description="Number type of the computation. tf32: float32, whose products are rounded to "
        "10 binary places on a GPU that has TF32 (NVIDIA's since Ampere), which is faster; fp32: "
        "not rounded there. amp (bfloat16 products, float32 weights) and bf16 are faster still. "
        "fp64, for small encoders: the same bytes on every processor.",
    )
    quick_gelu: bool | None = Field(
        None,
        description="For a checkpoint file: true if it was trained with QuickGELU (OpenAI, "
        "MetaCLIP, DFN).",
    )

    @property
    def files(self) -> list[Path]:
        """The user's own files of the model; [] for a model of the hub, or published features."""
        own: list[Path] = families.of(self.model).call("files", self.spec(), default=[])
        return own

    def spec(self, device: str = "auto") -> EncoderSpec:
        """The encoder, on a device."""
        return EncoderSpec(self.model, self.pretrained, self.precision, device, self.quick_gelu)


class FeaturesConfig(Strict):
    """Extraction of features."""

    # The device counts as changing no result, though it can change the last bits of a float32 sum:
    # else whoever pulled features that were made on a GPU, but has none, would encode all images
    # again for a difference of rounding.

    batch_size: Count = 64
    workers: Annotated[int, Field(ge=0)] | None = Field(
        None,
        exclude=True,
        description="Threads that read and decode images ahead of the encoder; 0: none. Default: "
        "one on a CPU, with a GPU one per core up to 16. They change no result.",
    )
    cache: bool = Field(
        True,
        exclude=True,
        description="Keep features by the content of images and texts in the user's cache folder, "
        "so that one more photo encodes one photo. It can be deleted at any time.",
    )
    device: str = Field("auto", exclude=True, description="auto, cpu, cuda, cuda:N or mps.")
    threads: Annotated[int, Field(ge=1, le=256)] = Field(
        1,
        description="CPU threads per job. A fixed number and not the machine's, because it can "
        "change the last bit; more threads than cores are very slow. To use all cores without "
        "changing the result, set shards.",
    )
    shards: Count = Field(
        1,
        exclude=True,
        description="Number of jobs that share the images of a data set; the result is the same.",
    )
    on_error: Literal["fail", "skip"] = Field(
        "fail", description="For an unreadable image: stop the job, or skip the image and list it."
    )


class RerankConfig(Strict):
    """Stage two."""

    top_k: Annotated[int, Field(ge=2)] = TOP_K
    thresholds: list[Share] = Field(
        [round(0.05 * i, 2) for i in range(21)],
        min_length=1,
        description="Grid of the threshold figure, from which the clean setting chooses on val.",
    )


class AdapterConfig(Strict):
    """Few-shot methods, shots, seeds and the search grid of the CODER-Adapter."""

    methods: list[str] = Field(
        [*FEW_SHOT, *ABLATIONS],
        description="Few-shot methods besides zero-shot CLIP: "
        + ", ".join([*FEW_SHOT, *ABLATIONS])
        + ". Adding one does not change the numbers of the others.",
        json_schema_extra={"items": {"enum": [*FEW_SHOT, *ABLATIONS]}},
    )
    shots: list[Count] = Field([1, 2, 4, 8, 16])
    seeds: list[Seed] = Field(
        [1, 2, 3],
        description="Each seed draws its shots. Default: 1 to 3, or 1 to 10 if every data set is "
        "of features, because nothing is encoded for a seed there.",
    )
    repeat_shots: bool = Field(
        False,
        description="Draw images repeatedly if a class has fewer than the shots (as published), "
        "else stop.",
    )
    betas: Step = Field(
        (0.1, 200, 500),
        description="From, to (exclusive) and steps that the CODER-Adapter and its ablations "
        "search; the other methods search their authors' grids.",
    )
    alphas: Step = Field((0.1, 20, 50), description="As betas.")
    rounds: Count = Field(
        3, description="As betas; each round after the first searches 0.5 to 1.5 times the winner."
    )
    initial: tuple[float, float] | None = Field(
        None,
        description="(alpha, beta) before the search; default: as published, (1, 1) for other data "
        "sets.",
    )

    @field_validator("methods")
    @classmethod
    def _known_methods(cls, value: list[str]) -> list[str]:
        """The methods, if all are known; ValueError names the first unknown one."""
        known = [*FEW_SHOT, *ABLATIONS]
        for method in value:
            if method not in known:
                raise ValueError(
                    f"adapter.methods: unknown method '{method}'{nearest(method, known)}"
                )
        return value


class EvaluationConfig(Strict):
    """Intervals, ablations and feature quality."""

    seed: Seed = 0
    template_ensemble: bool = Field(
        True,
        description="CLIP with the 80 templates of ImageNet as a baseline: 80 sentences per class "
        "to encode.",
    )
    text_counts: list[Count] = Field(
        [1, 2, 4, 6, 8],
        description="Texts per class of the curve; it always has no texts and all texts, too.",
    )
    draws: Count = Field(5, description="Random subsets of texts per count.")
    random_draws: Annotated[int, Field(ge=2)] = Field(
        10, description="Draws of random words, the control for the content of attribute texts."
    )
    neighbors: Count = Field(5, description="k of the k-NN accuracy.")
    tsne_images: Count = 600
    corrections: Count = 3
