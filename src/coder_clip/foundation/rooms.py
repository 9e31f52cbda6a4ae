"""Parts and packages that may be missing; what they offer then says so in one line."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..errors import UserError

PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Room:
    """A part that may be missing.

    offers: what it is for, in a message. module: one of its modules. folder: its place in the
    repository.
    """

    offers: str
    module: str
    folder: str

    @property
    def here(self) -> bool:
        """True if the part can be imported."""
        package, _, path = self.module.partition(".")
        # Look for the file, because find_spec executes the packages above a module.
        if package == "coder_clip":
            return (PACKAGE / path.replace(".", "/")).with_suffix(".py").is_file()
        return find_spec(self.module) is not None

    @property
    def advice(self) -> str:
        """What is missing, and how to get it."""
        if self.folder.startswith("packages/"):
            how = f"pip install ./{self.folder} in a clone of coder-clip (make does it)"
            return f"{self.offers} is not installed: {how}"
        how = f"'git checkout {self.folder}' in a clone of coder-clip brings it back"
        return f"{self.offers} is not here: {how}"

    def require(self) -> None:
        """Raise UserError if the part is missing."""
        if not self.here:
            raise UserError(self.advice)


SLURM = Room(
    "the executor for Slurm",
    "snakemake_executor_plugin_slurm_resilient",
    "packages/snakemake-executor-plugin-slurm-resilient",
)
LANGUAGE_MODEL = Room(
    "the source 'llm' of texts, a language model,",
    "coder_clip.texts.llm.source",
    "src/coder_clip/texts/llm",
)
DRAWN = Room(
    "the code that draws 'rare' and 'shapes'",
    "coder_clip.datasets.drawn.drawing",
    "src/coder_clip/datasets/drawn",
)
PREFLIGHT = Room("the check before a run", "coder_clip.preflight.run", "src/coder_clip/preflight")


# extra of pyproject.toml -> modules of the packages that only it installs
EXTRAS = {
    "run": (
        "snakemake",
        "snakemake_interface_logger_plugins",
        "dvc",
        "dvc_data",
        "dvc_objects",
        "pandas",
        "pyarrow",
        "sklearn",
        "threadpoolctl",
        "scipy",
        "matplotlib",
        "jinja2",
    ),
    "texts": ("openai", "inflect"),
}


def extra_advice(module: str | None) -> str:
    """How to install a module that is missing; "" for a module that no extra brings."""
    package = (module or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if package in modules:
            return (
                f"{package} is not installed: pip install '.[{extra}]' in a clone of coder-clip "
                "('make install' installs everything)"
            )
    return ""


def photos(command: str) -> Room:
    """The package of the commands for photos. command: the one that the user called."""
    return Room(f"'{command}'", "coder_clip_photos", "packages/coder-clip-photos")
