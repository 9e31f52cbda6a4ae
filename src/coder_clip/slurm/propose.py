"""`coder-clip check --profile slurm --propose`: a profile for this site, from Slurm's answers.

The given profile is the model: its lines with SITE get what this site has, and lose their mark."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import yaml

from ..errors import UserError
from ..foundation.artifacts import write_text
from .plan import PROFILES, find_profile
from .probe import Finding

if TYPE_CHECKING:
    from snakemake_executor_plugin_slurm_resilient.site import Partition, Site

TARGET = PROFILES / "site" / "config.yaml"
SLICE = re.compile(r"\d+g\.\d+gb")  # the name of a part of a GPU (MIG)


def propose(profile: str) -> Finding:
    """Write the profile of this site; TARGET is new. UserError if it exists already."""
    from snakemake_executor_plugin_slurm_resilient import site

    model = find_profile(profile) / "config.yaml"
    if TARGET.exists():
        raise UserError(
            f"{TARGET} exists: remove it for a new proposal, or check it with '--profile "
            f"{TARGET.parent.name}'"
        )
    here = site.read()
    text, words = fitted(model.read_text(encoding="utf-8"), here)
    write_text(TARGET, text)
    return Finding("ok", f"proposed {TARGET}: {words}; look at it, then use this profile")


def fitted(text: str, here: Site) -> tuple[str, str]:
    """A profile with the values of a site, and these values in words."""
    words = []
    cpu = cpu_partition(here)
    if cpu is not None:
        text = _set(text, "  slurm_partition: ", cpu.name)
        words.append(f"jobs in partition {cpu.name}")
    if here.accounts:
        account = here.accounts[0]
        text = _set(text, "  # slurm_account: ", account.name)
        words.append(f"account {account.name}")
        if account.submit < 200:
            text = _set(text, "jobs: ", str(int(account.submit)))
            words.append(f"{account.submit:.0f} jobs at a time")
    gpu = gpu_partition(here)
    if gpu is None:
        text = without_gpus(text)
        words.append("no GPUs (set features.shards in the configuration)")
    else:
        text = _set(text, "    slurm_partition: ", gpu.name)
        words.append(f"encoders in partition {gpu.name}")
        model = gpu_model(gpu)
        if model:
            text = _set(text, "    gpu: 1\n", f"    gpu_model: {model}\n", keep=True)
            words.append(f"on {model}")
    text = text.replace("Lines with SITE are the ones to look at", "Proposed from what Slurm says")
    # the profile names the command that checks it
    text = text.replace("check --profile slurm", f"check --profile {TARGET.parent.name}")
    text = text.replace("# SITE: ", "# ")
    return re.sub(r" *# SITE$", "", text, flags=re.M), ", ".join(words)


def cpu_partition(here: Site) -> Partition | None:
    """The default partition, or the one without GPUs that lets jobs run longest."""
    places = [place for place in here.partitions.values() if not place.gpus]
    places = places or list(here.partitions.values())
    return max(places, key=lambda place: (place.default, place.limits.runtime), default=None)


def gpu_partition(here: Site) -> Partition | None:
    """The partition with the most GPUs; of several the one that lets jobs run longest."""
    places = [place for place in here.partitions.values() if place.gpus]
    number = {place.name: sum(place.gpus.values()) for place in places}
    best = max(places, key=lambda p: (number[p.name], p.limits.runtime), default=None)
    return best


def gpu_model(place: Partition) -> str:
    """The type to ask for: the most frequent whole GPU, if there are slices of GPUs, too."""
    types = place.gpus
    whole = Counter({name: n for name, n in types.items() if name and not SLICE.search(name)})
    if not whole or len(whole) == len(types):
        return ""  # any will do
    return whole.most_common(1)[0][0]


def without_gpus(text: str) -> str:
    """A profile without the lines of rules that run an encoder on GPUs."""
    text = re.sub(r"^  encode_\w+:.*\n(?:    .*\n)*", "", text, flags=re.M)
    text = re.sub(r"^  - encode_\w+=.*\n", "", text, flags=re.M)
    if yaml.safe_load(text).get("set-resources") is None:  # nothing but comments is left below it
        text = text.replace("set-resources:\n", "")
    return text


def _set(text: str, key: str, value: str, keep: bool = False) -> str:
    """Set the value of each line that begins with ``key``, which may be commented out.

    keep: add the value behind the key, as a line of its own.
    """
    if keep:
        return text.replace(key, f"{key}{value}")
    shown = key.replace("# ", "")
    return re.sub(rf"^{re.escape(key)}[^\s#]+", rf"{shown}{value}", text, flags=re.M)
