"""Preflight checks that need neither torch nor an encoder, also made before the first job of every
run.
"""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from ..datasets import FEATURE_SETS, Dataset, load_dataset
from ..datasets.availability import look_at, refuse_other_archives, refuse_small_disk
from ..datasets.corrections import default_file
from ..datasets.entry import Download
from ..datasets.fetch import refusal
from ..datasets.published import PublishedDataset, data_root, is_here
from ..encoders import families
from ..errors import UserError
from ..foundation import terminal
from ..foundation.artifacts import Paths, writable
from ..pipeline.absent import to_download
from ..pipeline.config import Config, GeneratorConfig
from ..pipeline.resources import Sizes
from .estimate import ahead

LONG = 8  # hours, from which a GPU is suggested
SHORT = 4 / 60  # hours; of a shorter run no estimate is printed
SHOWN = 2  # addresses in a message
TIMEOUT = 10.0  # seconds of the one request to a language model's server


def forecast(
    config: Config, gpus: int, sizes: Mapping[str, Sizes], shortest: float = 0.0
) -> Iterator[str]:
    """Yield lines on hours by phase and on disk; none for a run of less than ``shortest`` hours.

    UserError if the disk is too small.
    """
    table, hours, gigabytes = ahead(config, gpus, sizes)
    room = free(config.results)
    # twice, because DVC's cache takes as much as the results
    if 2 * gigabytes > room:
        needed, left = terminal.two_sizes(2 * gigabytes, room)
        raise UserError(
            f"{config.results}: {needed} are needed, and {left} are free; make room there"
        )
    if hours < shortest:
        return
    if not table:
        yield (
            "all artefacts are there; what has changed since they were made runs again ('snakemake "
            "-n --configfile' with this configuration says what)"
        )
        return
    if not gpus and hours > LONG:
        with_one = ahead(config, 1, sizes)[1]
        yield (
            "no GPU is used here; with one, on this machine or on a cluster, it takes about "
            f"{with_one:.0f} h"
        )
    yield from table
    yield (
        f"disk: {terminal.gigabytes(gigabytes)} in {config.results}, and as much in DVC's cache; "
        f"{terminal.gigabytes(room)} are free"
    )


def free(folder: Path) -> float:
    """Gigabytes on the disk of a folder, which may not be there yet."""
    place = next(p for p in (folder, *folder.resolve().parents) if p.is_dir())
    return shutil.disk_usage(place).free / 1e9


def unused_corrections(config: Config, file: Path) -> Iterator[str]:
    """Yield a warning for each unused file of corrected labels.

    It is beside the configuration, but not named in it: the run uses the labels of the folders.
    """
    for name, given in config.datasets.items():
        beside = default_file(file, name)
        if given.root is not None and given.corrections is None and beside.is_file():
            yield (
                f"warning: data set {name}: {beside} corrects labels, but {file} does not name it; "
                f"add 'corrections: {beside}' below {name}, or remove the file"
            )


def sizes_without_manifest(config: Config) -> dict[str, Sizes]:
    """`sizes_of` each of the user's own data sets that has no manifest yet.

    Published data sets are left out: their entries have these numbers.
    """
    sizes = {}
    for name, given in config.datasets.items():
        if not config.published(name) and not Paths(config.results).manifest(name).is_file():
            with suppress(UserError):  # the job that lists its images says so
                # without near twins, which stay in one split: to find them, every image is opened,
                # and they change the sizes of splits only slightly
                data = load_dataset(name, given, config.data_root, twins=[])
                sizes[name] = sizes_of(config, name, data)
    return sizes


def sizes_of(config: Config, name: str, data: Dataset) -> Sizes:
    """Split -> number of images, for the splits that a run needs; and the number of classes."""
    needed = []
    if config.few_shot(name):
        needed.append("train")
    if config.has_val(name):
        needed.append("val")
    needed.append("test")
    return {split: len(data.split(split)) for split in needed}, len(data.classes)


def ways(config: Config, lacking: Iterable[str]) -> Iterator[str]:
    """Yield how to get each of these data sets, in several lines."""
    for name in lacking:
        state = look_at(name, data_root(config.data_root))
        yield "\n".join([f"data set {name}, below {state.folder}", *state.ways()])


def requests(config: Config, generator: GeneratorConfig) -> str:
    """A line on the requests to a language model, and their cost."""
    from ..texts.llm.budget import amount, total
    from ..texts.llm.estimate import rows
    from ..texts.llm.server import place
    from .questions import asked

    estimate = total(row.ahead for row in rows(asked(config, config.datasets)))
    prices = generator.prices
    costs = ""
    if prices:
        costs = f", about {amount(estimate.money)} {prices.currency} at prices of {prices.date}"
    return (
        f"language model {generator.model} at {place(generator)}: {estimate.requests:,} requests "
        f"at most{costs}, repeats not included; 'coder-clip generate-texts --dry-run' shows details"
    )


def downloads(config: Config, names: Collection[str]) -> None:
    """UserError unless the run's downloads fit into the data root and their servers answer."""
    if not names:
        return
    root = data_root(config.data_root)
    writable(root, "data sets")
    by_name = {n: look_at(n, root).get for n in names}  # files to download
    refuse_other_archives(by_name, root)
    refuse_small_disk(by_name, root)
    features = [files[0] for name, files in by_name.items() if name in FEATURE_SETS and files]
    wanted = [d for name, files in by_name.items() if name not in FEATURE_SETS for d in files]
    why = _refusals([*wanted, *features])
    dead = [d for d in wanted if _is_dead(d, why)]
    # features are many small files, and the run goes on without a data set that it cannot download:
    # the first files tell whether there is any data set to go on with
    dead_features = [d for d in features if _is_dead(d, why)]
    if len(dead_features) == len(config.datasets):
        hosts = sorted({f"{urlsplit(d.url).hostname} ({why[d.url]})" for d in dead_features})
        raise UserError(
            f"none of the data sets can be downloaded: {', '.join(hosts)}; start this where the "
            "network is ('coder-clip data check' says how to get the files by hand)"
        )
    if dead:
        dead_urls = ", ".join(f"{d.url} ({why[d.url]})" for d in dead[:SHOWN])
        if len(dead) > SHOWN:
            dead_urls += f" and {len(dead) - SHOWN} more"
        others = ""
        # the configuration has other data sets, too
        if set(config.datasets) - set(names):
            others = ", or leave them out: ONLY_PRESENT=1 FETCH=0"
        raise UserError(
            f"these files are to be downloaded, and their servers do not give them: {dead_urls}; "
            f"try again later, get the data sets by hand ('coder-clip data check' says how){others}"
        )


def _refusals(files: Sequence[Download]) -> dict[str, str]:
    """Address -> why it does not give its file, "" if it does; for all addresses of the files."""
    urls = [url for d in files for url in (d.url, *d.mirrors)]
    with ThreadPoolExecutor() as pool:
        return dict(zip(urls, pool.map(refusal, urls), strict=True))


def _is_dead(download: Download, why: Mapping[str, str]) -> bool:
    """True if none of a file's addresses gives it."""
    return all(why[url] for url in (download.url, *download.mirrors))


def unreachable(config: Config) -> dict[str, str]:
    """Data sets of features that a run would download, and why it cannot.

    Empty if any of them can be downloaded, or if the run has no other data set.

    Without network each of them would wait for its own time-out, half an hour together, while the
    data sets that are here could be evaluated.
    """
    names = to_download(config)
    only_features = all(config.of_features(name) for name in names)
    if not names or not only_features or set(names) == set(config.datasets):
        return {}
    root = data_root(config.data_root)
    first = {n: look_at(n, root).get[0] for n in names}  # the first missing file
    why = _refusals([*first.values()])
    if not all(why.values()):
        return {}
    return {name: f"{urlsplit(d.url).hostname} ({why[d.url]})" for name, d in first.items()}


def images(config: Config, name: str) -> None:
    """UserError if a published data set's lists cannot be used, or images are missing.

    Empty images count as missing. No image is opened.
    """
    given, root = config.datasets[name], data_root(config.data_root)
    if not is_here(name, root, given.split):
        return  # reported by absent_data
    try:
        data = load_dataset(name, given, config.data_root)
        assert isinstance(data, PublishedDataset)
        # with on_error: skip, a run goes on without missing images
        lost = data.missing() if config.features.on_error == "fail" else []
        if lost:
            some = f"{len(lost):,} of {sum(data.counts.values()):,} images are missing or empty"
            raise UserError(f"data set {name}: {some}, below {data.place.images}, first {lost[0]}")
    except UserError as error:
        raise UserError("\n".join([str(error), *look_at(name, root).ways()])) from None


def refuse_unreadable_folder(config: Config, name: str) -> None:
    """UserError if a file of a model cannot be read, or is empty."""
    model = config.models[name]
    try:
        families.of(model.model).call("unreadable", model.spec())
    except UserError as error:
        raise UserError(f"model {name}: {error}") from None


def language_model(config: Config, generator: GeneratorConfig) -> None:
    """UserError unless the language model has no question left, or its server accepts the key."""
    if unanswered(config, generator):
        key(generator)


def unanswered(config: Config, generator: GeneratorConfig) -> bool:
    """True if a language model has to be asked, as far as is known before the run.

    Stage one finds the pairs.

    Until then, stored answers about some pairs count for all, because answers are shared as a
    whole.
    """
    from ..texts.llm.estimate import rows
    from ..texts.llm.store import Answers
    from .questions import asked

    for row in rows(asked(config, config.datasets)):
        kinds: set[str] = set()  # of the stored answers, if the pairs are not known yet
        if not row.known:
            stored = Answers(generator.answers, row.dataset).kept.values()
            kinds = {item["kind"] for s in stored if s.model == generator.model for item in s.items}
        if row.ahead.requests and "one_to_one" not in kinds:
            return True
    return False


def key(generator: GeneratorConfig) -> None:
    """Check with one free request that a language model's server answers and accepts the key.

    UserError if not.
    """
    from ..texts.llm.server import api_key, headers, place

    secret = api_key(generator)
    request = urllib.request.Request(
        f"{place(generator).rstrip('/')}/models",
        headers={
            "Authorization": f"Bearer {secret}",
            "User-Agent": "coder-clip",
            **headers(generator),
        },
    )
    # the list of models is free, and a server that checks the key first refuses it here
    try:
        urllib.request.urlopen(request, timeout=TIMEOUT).close()
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise UserError(
                f"the language model's server {place(generator)} refuses the key (HTTP "
                f"{error.code})"
            ) from None
        # any other code, such as that of a server without a list of models, says nothing on the key
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"the language model's server {place(generator)} cannot be reached: {reason}"
        ) from None
