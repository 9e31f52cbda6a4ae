"""What would stop a run, and what it takes: one list of checks for `coder-clip check`, and for the
start of every run.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..datasets import load_dataset
from ..datasets.availability import look_at
from ..datasets.entry import entry
from ..datasets.published import data_root
from ..errors import UserError
from ..foundation import terminal
from ..foundation.artifacts import writable
from ..pipeline.absent import absent_data, refuse_absent, to_download
from ..pipeline.config import Config
from ..pipeline.resources import Sizes, gpus
from . import quick

# Modules that import torch or ask Slurm are imported where they are used: the start of a run with
# its model in a folder needs neither.


@dataclass(frozen=True)
class Run:
    """What is checked.

    file: the configuration file, for the commands in messages. datasets, models: what the run lists
    and encodes. asks: True if it asks a language model. here: True if its jobs run on this machine;
    if not, speed, device and disk of this machine do not count. thorough: True to open images and
    load models, else only what is seen without is checked. deep: True to decode every image.
    profile: that of a cluster, which is asked whether it takes the jobs.
    """

    config: Config
    file: Path
    datasets: Collection[str]
    models: Collection[str]
    asks: bool
    here: bool
    thorough: bool = False
    deep: bool = False
    profile: str | None = None


@dataclass
class Check:
    """The checks of a run. problems: what would stop it, complete when `lines` has ended."""

    run: Run
    problems: list[str] = field(default_factory=list)
    _downloaded: list[str] = field(default_factory=list)  # data sets that the run downloads
    _lacking: list[str] = field(default_factory=list)  # data sets that a person has to get
    _sizes: dict[str, Sizes] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Yield what is found, as it is found, but for the problems."""
        # The machine comes before the weights, which take memory of a GPU; the forecast needs the
        # numbers of images.
        for part in (
            quick.unused_corrections(self.run.config, self.run.file),
            self._cluster(),
            self._absent(),
            self._data_sets(),
            self._language_model(),
            self._machine(),
            self._weights(),
            self._forecast(),
            self._to_get(),
        ):
            with self._collecting():
                yield from part

    @contextmanager
    def _collecting(self) -> Iterator[None]:
        """Context of a part of the checks: an error ends it, and is a problem."""
        try:
            yield
        except UserError as error:
            # a device that is not here is named by each model
            if str(error) not in self.problems:
                self.problems.append(str(error))

    def _cluster(self) -> Iterator[str]:
        if self.run.profile is None:
            return
        from .cluster import findings

        wrong = 0
        for finding in findings(self.run.config, self.run.file, self.run.profile):
            yield str(finding)
            wrong += finding.status == "wrong"
        if wrong:
            raise UserError(f"the cluster stops a run, see {terminal.counted(wrong, 'line')} above")

    def _absent(self) -> Iterator[str]:
        """Data sets that are not here: the run downloads them, or a person has to get them."""
        run, config = self.run, self.run.config
        if not run.thorough:
            self._downloaded = to_download(config)
            refuse_absent(config, run.file, run.datasets, self._downloaded)
            return
        if config.left_out:
            yield (
                f"left out, because they are not here or incomplete: {', '.join(config.left_out)}; "
                f"'coder-clip data check --config {run.file}' says how to get them"
            )
        # if the data root is wrong, as if no published data set were here
        self._lacking = [name for name in config.datasets if config.published(name)]
        self._downloaded = to_download(config)
        absent = absent_data(config)
        self._lacking = [name for name in absent if name not in self._downloaded]
        for name in self._downloaded:
            size = look_at(name, data_root(config.data_root)).size
            yield f"data set {name}: the run downloads what is not here, {size}"
        if run.here:
            self.problems += quick.ways(config, self._lacking)
            return
        # a cluster is checked before the images are there
        for name in self._lacking:
            yield (
                f"data set {name}: not here yet; 'coder-clip data check --config {run.file}' says "
                "how to get it"
            )

    def _data_sets(self) -> Iterator[str]:
        """The data sets that are here."""
        config = self.run.config
        away = {*self._downloaded, *self._lacking}
        for name in self.run.datasets:
            if name in away:
                continue
            with self._collecting():
                if self.run.thorough:
                    yield from self._thorough(name)
                elif config.published(name):
                    quick.images(config, name)
                elif config.datasets[name].corrections:
                    # for its error: labels that cannot be corrected
                    load_dataset(name, config.datasets[name])

    def _thorough(self, name: str) -> Iterator[str]:
        """A data set, its texts and its images."""
        from .thorough import data_set, load

        config = self.run.config
        data = load(config, name)
        if data is None:
            yield (
                f"data set {name}: no images here, and none are needed: all their features are in "
                f"{config.results}"
            )
            return
        self._sizes[name] = quick.sizes_of(config, name, data)
        yield from data_set(config, name, data, self._sizes[name][0], self.run.deep)

    def _language_model(self) -> Iterator[str]:
        generator = self.run.config.generator
        if generator is None or not self.run.asks:
            return
        if self.run.thorough:
            yield quick.requests(self.run.config, generator)
        quick.language_model(self.run.config, generator)

    def _machine(self) -> Iterator[str]:
        """This machine's devices, and room for results and downloads."""
        config = self.run.config
        if not self.run.here:
            return
        with self._collecting():
            writable(config.results, "results")
        with self._collecting():
            quick.downloads(config, self._downloaded)
        if self.run.thorough or self._of_hub():
            from .thorough import devices, unused_gpu

            yield from unused_gpu(config)
            if self.run.thorough:
                yield from devices(config)

    def _of_hub(self) -> list[str]:
        """Models whose files come from a hub, and may not be here."""
        of = self.run.config.models
        return [name for name in self.run.models if not of[name].model.startswith("local-dir:")]

    def _weights(self) -> Iterator[str]:
        run, of_hub = self.run, self._of_hub()
        for name in run.models:
            with self._collecting():
                if run.thorough or (run.here and name in of_hub):
                    from .thorough import weights

                    yield from weights(run.config, name, load=run.thorough, here=run.here)
                else:
                    quick.refuse_unreadable_folder(run.config, name)

    def _forecast(self) -> Iterator[str]:
        """Hours and disk. A run that starts says them if it is long, and not if it will not start;
        and without the size of each data set there is none.
        """
        run, sizes = self.run, self._sizes
        if not run.here:
            return
        if not run.thorough:
            if run.models and not self.problems:
                sizes = quick.sizes_without_manifest(run.config)
                yield from quick.forecast(run.config, gpus(run.config), sizes, quick.SHORT)
            return
        away = {*self._downloaded, *self._lacking, *sizes}
        if all(name in away or run.config.published(name) for name in run.datasets):
            yield from quick.forecast(run.config, gpus(run.config), sizes)

    def _to_get(self) -> Iterator[str]:
        """What the data sets that a person has to get take, and how to run without them."""
        run, config = self.run, self.run.config
        if not (run.thorough and run.here and self._lacking):
            return
        size = sum(entry(name).gigabytes for name in self._lacking)
        root = data_root(config.data_root)
        yield (
            f"these data sets take {terminal.gigabytes(size)}, and "
            f"{terminal.gigabytes(quick.free(root))} are free in {root}; 'coder-clip data get "
            f"--config {run.file}' gets all that may be downloaded"
        )
        if len(self._lacking) < len(config.datasets):
            without = f"make reproduce CONFIG={run.file} ONLY_PRESENT=1"
            yield f"to run without what is not here: {without}"


def before_run(run: Run) -> None:
    """Check a run before its first job; prints to stderr. UserError with all that would stop it."""
    check = Check(run)
    for line in check.lines():
        print(line, file=sys.stderr, flush=True)
    if check.problems:
        raise UserError("\n".join(check.problems))


def everything(run: Run) -> Iterator[str]:
    """Yield all that is found, the problems last. A single problem of one line is the UserError;
    of several, it says how many.
    """
    check = Check(run)
    yield from check.lines()
    if len(check.problems) == 1 and "\n" not in check.problems[0]:
        raise UserError(check.problems[0])
    yield from (f"problem: {problem}" for problem in check.problems)
    if check.problems:
        raise UserError(f"{terminal.counted(len(check.problems), 'problem')}, see above")
