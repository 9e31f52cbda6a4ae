"""Packages that may not be installed; what they offer then says in one line how to install them."""

from __future__ import annotations

from importlib.util import find_spec

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


def distribution_advice(offers: str, folder: str) -> str:
    """How to install a distribution of this repository. offers: what it is for."""
    how = f"pip install ./packages/{folder} in a clone of coder-clip (make does it)"
    return f"{offers} is not installed: {how}"


def slurm_advice() -> str:
    """How to install the executor for Slurm; "" if it is installed."""
    if find_spec("snakemake_executor_plugin_slurm_resilient"):
        return ""
    folder = "snakemake-executor-plugin-slurm-resilient"
    return distribution_advice("the executor for Slurm", folder)
