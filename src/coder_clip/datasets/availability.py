"""Check and download published data sets."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import UserError
from ..foundation.terminal import gigabytes, two_sizes
from . import load_below
from .base import SPLITS
from .entry import ByHand, Download, Entry, entry
from .fetch import checksum_like, fetch
from .layouts import Place
from .published import PublishedDataset, changed_files, find_place, has_lists
from .unpack import unpack

Say = Callable[[str], None]
DOWNLOADS = ".downloads"  # below the root: archives until they are unpacked


@dataclass
class Findings:
    """The state of one data set.

    problems: reasons why no run can use it. advice: improvements that a run can do without. get:
    files for ``data get`` to download. by_hand: files that the user has to download. terms: its
    licence, and where to read it.
    """

    name: str
    title: str
    folder: Path
    here: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    get: list[Download] = field(default_factory=list)
    by_hand: list[ByHand] = field(default_factory=list)
    terms: str = ""

    @property
    def usable(self) -> bool:
        return not self.problems

    @property
    def size(self) -> str:
        """Gigabytes that ``data get`` downloads, in words."""
        return gigabytes(sum(d.gigabytes for d in self.get))

    def lines(self) -> list[str]:
        """The report of ``data check``: a line with the state, then the details."""
        # a run can do without what is in `advice`, so only problems make a data set unusable
        if not self.usable:
            state = "not usable"
        elif self.advice:
            state = "usable"
        else:
            state = "complete"
        said = [f"{self.name}: {state} — {self.title}, {self.folder}"]
        said += [f"  here      {line}" for line in self.here]
        said += [f"  problem   {line}" for line in self.problems]
        said += [f"  note      {line}" for line in self.advice]
        return said + self.ways(all_=True)

    def ways(self, all_: bool = False) -> list[str]:
        """Lines on how to get what is missing: the command, and what to download by hand.

        all_: also the addresses from which the command downloads.
        """
        said = []
        if all_ and self.terms and (self.get or self.by_hand):
            said.append(f"  terms     {self.terms}")
        if self.get:
            what = ", ".join(d.gives for d in self.get)
            said.append(f"  get       {what}: coder-clip data get {self.name} ({self.size})")
        if all_:
            said += [f"            {url}" for d in self.get for url in (d.url, *d.mirrors)]
        return said + [f"  by hand   {self.folder / h.gives}: {h.how}" for h in self.by_hand]


def look_at(name: str, root: Path) -> Findings:
    """Check a data set below the root, in its first split.

    Nothing is downloaded, and no image is opened.
    """
    found = entry(name)
    place = find_place(name, found, root)
    folder = _folder(place, found, root)
    result = Findings(name, found.title, folder, terms=f"{found.licence}; see {found.homepage}")
    # a download counts as here by what it gives, so files that came another way are kept
    result.get = [d for d in found.downloads if not _is_there(d, found, root, place is not None)]
    result.by_hand = [h for h in found.by_hand if not _exists(h.gives, found, root)]
    if place is None:
        looked = ", ".join(str(root / f / i) for f in found.folders for i in found.images)
        result.problems.append(f"no images (looked for {looked})")
        return result
    rule = found.splits[0]
    if not has_lists(rule, folder):
        result.problems.append(f"no split file: {' + '.join(rule.needs)}")
        return result
    try:
        data = load_below(name, root)
    except UserError as error:
        result.problems.append(str(error))
        result.get += [d for d in _at_fault(found, folder) if d not in result.get]
        return result
    counts = ", ".join(f"{split} {n:,}" for split, n in data.counts.items())
    result.here += [f"images in {place.images}", f"{counts} (split: {data.rule.what})"]
    missing = data.missing()
    if missing:
        _report_missing(missing, data, result)
    miscounted = data.miscounted()
    if miscounted:
        result.problems.append(miscounted)
    else:
        _compare(data, result)
    if not result.problems:
        result.get, result.by_hand = [], []  # nothing else is needed
    return result


def _folder(place: Place | None, found: Entry, root: Path) -> Path:
    """The data set's folder; before it is here, the folder that a download makes."""
    if place is None:
        return root / found.folders[0]
    return place.folder


def _at_fault(found: Entry, folder: Path) -> list[Download]:
    """The downloads that can mend what could not be read: lists, or, without lists, images."""
    rule = found.splits[0]
    if found.loader == "features":
        wanted = changed_files(found, folder) or rule.needs
        return [d for d in found.downloads if d.gives in wanted]
    if rule.needs:
        return [d for d in found.downloads if d.gives in rule.needs]
    return [d for d in found.downloads if _is_images(d, found)]


def _report_missing(missing: list[str], data: PublishedDataset, result: Findings) -> None:
    """Add the problem of missing images, and the downloads that bring them."""
    found, place = data.entry, data.place
    total = sum(data.counts.values())
    some = f"{len(missing):,} of {total:,} images"
    result.problems.append(f"{some} are missing or empty, first {missing[0]}")
    # a damaged list names images that nobody has: get the list again, not the images
    other_files = changed_files(found, place.folder)
    changed = [d for d in found.downloads if d.gives in other_files]
    if changed:
        names = " + ".join(d.gives for d in changed)
        result.problems[-1] += f"; {names} lists them, and is not the published file"
        result.get = changed
    # the lists are right, so the images themselves are incomplete: get their archive again
    if not result.get:
        result.get = [d for d in found.downloads if d.gives.split("/")[-1] == place.images.name]


def _compare(data: PublishedDataset, result: Findings) -> None:
    """Compare the lists of images with the published fingerprints."""
    rule, folder = data.rule, data.place.folder
    # name -> checksum, of two kinds: of each split's list as read, and of the files of the lists
    now: dict[str, str] = {split: data.fingerprint(split) for split in rule.fingerprints}
    now |= {file: checksum_like(folder / file, known) for file, known in rule.sums.items()}
    published = dict([*rule.fingerprints.items(), *rule.sums.items()])
    changed = [name for name in now if now[name] != published[name]]
    if changed:
        source = " + ".join(rule.needs) or data.place.images
        result.problems.append(
            f"not as published, by checksum: {', '.join(changed)} (read from {source})"
        )
    same = [name for name in now if name not in changed]
    if same:
        result.here.append(f"as published, by checksum: {', '.join(same)}")
    # hashes without a published one are shown, so that two machines can be compared
    unknown = [s for s in SPLITS if s in data.counts and s not in rule.fingerprints]
    if unknown and not rule.sums:
        sums = ", ".join(f"{split} {data.fingerprint(split)[:12]}…" for split in unknown)
        result.here.append(
            f"list of images, sha256, without a published one to compare with: {sums}"
        )


def addresses(urls: Collection[str], names: Collection[str], root: Path) -> dict[str, list[str]]:
    """Missing file -> the addresses (``--url``) that the user gave for it.

    An address is for the file whose name it ends in; if only one file is missing, every address is
    for this file. Empty if no file is missing. UserError for an address that fits no missing file.
    """
    found: dict[str, list[str]] = {}
    if not urls:
        return found
    wanted = [d.file for name in names for d in look_at(name, root).get]
    if not wanted:
        return found
    for url in urls:
        # an address belongs to the file that it ends in; a query ("?download=1") does not count
        files = [f for f in wanted if url.split("?")[0].endswith(f"/{f}")]
        if not files and len(wanted) == 1:
            files = wanted
        if not files:
            raise UserError(
                f"--url {url}: ends in the name of no file that is missing ({', '.join(wanted)})"
            )
        for file in files:
            found.setdefault(file, []).append(url)
    return found


def get(
    name: str,
    root: Path,
    *,
    keep: bool = False,
    say: Say = print,
    urls: Mapping[str, list[str]] | None = None,
) -> Findings:
    """Download and unpack the missing files that may be downloaded, then check the data set.

    A second call at the same time waits.

    keep: do not delete the archives. say: called with each message. urls: file -> more addresses,
    tried first (`addresses`). An archive that the user put below the root is unpacked, too.
    UserError: nothing can be reached, wrong checksum, no room; files that are complete stay.
    """
    found = entry(name)
    result = look_at(name, root)
    if not result.get and not any(h.archive for h in found.by_hand):
        return result  # perhaps on a root that is read-only
    with _one_at_a_time(name, root, say):
        place = find_place(name, found, root)
        folder = _folder(place, found, root)
        downloaded: list[Download] = []
        wanted = look_at(name, root).get  # another call may just have brought something
        # more than once if only the new lists show that images are missing
        while wanted:
            say(f"{name}: {found.title}. Terms: {found.licence}; see {found.homepage}")
            refuse_small_disk({name: wanted}, root)
            for download in wanted:
                given = (urls or {}).get(download.file, [])
                all_urls = [*given, download.url, *download.mirrors]
                _get_file(name, download, root, folder, all_urls, keep, say)
            downloaded += wanted
            wanted = [d for d in look_at(name, root).get if d not in downloaded]
        _unpack_brought(name, found, root, folder, say)
        result = look_at(name, root)
        # downloaded and still missing: another image folder of the entry hides the new one
        if place and any(d in downloaded for d in result.get):
            result.advice.append(
                f"the download is next to {place.images}, which takes precedence: move that folder "
                "away"
            )
        return result


@contextlib.contextmanager
def _one_at_a_time(name: str, root: Path, say: Say) -> Iterator[None]:
    """Hold the data set's lock; afterwards remove the lock file and empty folders of downloads."""
    # sets of features may share a folder
    place = name
    if entry(name).loader == "features":
        place = entry(name).folders[0].replace("/", "-")
    lock, downloads = FileLock(root / f".{place}.lock"), root / DOWNLOADS
    try:
        root.mkdir(parents=True, exist_ok=True)
        # try without waiting first, so that a wait is announced
        try:
            lock.acquire(blocking=False)
        except Timeout:
            say(f"{name}: another process fetches it; waiting")
            lock.acquire()
    except OSError as error:
        raise UserError(f"cannot write to {root}: {error.strerror or error}") from None
    try:
        yield
    finally:
        for folder in (downloads / name, downloads):
            with contextlib.suppress(OSError):
                folder.rmdir()  # where it is empty
        # removed while it is held: after the release it may be the lock of another process
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def refuse_small_disk(wanted: Mapping[str, Collection[Download]], root: Path) -> None:
    """UserError if the disk is too small for the archives of these data sets and their contents.

    wanted: data set -> its downloads. The contents are taken to be about as large as the archives.
    What an earlier try has downloaded needs no more room.
    """
    # the root may not exist yet: the nearest folder above that exists is on the same disk
    place = next(p for p in (root, *root.absolute().parents) if p.is_dir())
    need, free = 0.0, shutil.disk_usage(place).free / 1e9
    for name, downloads in wanted.items():
        archives = [root / DOWNLOADS / name / d.file for d in downloads]
        paths = [p for a in archives for p in (a, a.with_name(f"{a.name}.part"))]
        downloaded = sum(p.stat().st_size for p in paths if p.is_file()) / 1e9
        # archives and contents together, with a tenth of an archive to spare
        need += 2.1 * sum(d.gigabytes for d in downloads) - downloaded
    if need > free:
        needed, left = two_sizes(need, free)
        raise UserError(
            f"{', '.join(wanted)} needs {needed} more in {root} for a while, and {left} are free"
        )


def refuse_other_archives(wanted: Mapping[str, Collection[Download]], root: Path) -> None:
    """UserError for an archive that is here with another checksum: no download replaces it."""
    for name, downloads in wanted.items():
        for d in downloads:
            archive = root / DOWNLOADS / name / d.file
            if d.checksum and archive.is_file():
                checksum = checksum_like(archive, d.checksum)
                if checksum != d.checksum:
                    raise UserError(
                        f"{archive}: checksum {checksum}, published: {d.checksum}; remove it"
                    )


def _get_file(
    name: str, download: Download, root: Path, folder: Path, urls: list[str], keep: bool, say: Say
) -> None:
    """Download one file, and unpack it if it is an archive. folder: of the data set."""
    into, file = _target(download, folder), download.file
    if not download.unpack:
        target, new = into / file, into / f"{file}.new"
        if not target.exists():
            return fetch(urls, target, download.checksum)
        fetch(urls, new, download.checksum)  # the old file stays if this fails
        new.replace(target)
        return say(f"{name}: {target} could not be used and was replaced")
    archive = root / DOWNLOADS / name / file
    fetch(urls, archive, download.checksum)
    say(f"{name}: unpacking {file} into {into}")
    unpack(archive, into)
    for inner in download.inner:
        unpack(into / inner, (into / inner).parent)
        (into / inner).unlink()
    if not keep:
        archive.unlink()


def _unpack_brought(name: str, found: Entry, root: Path, folder: Path, say: Say) -> None:
    """Unpack archives that the user downloaded, such as ImageNet's two tars, below the root or in
    ``folder``.
    """
    for hand in found.by_hand:
        if hand.archive is None or _exists(hand.gives, found, root):
            continue
        # where people put an archive: the root, the data set's folder, or with the downloads
        places = (p / hand.archive.file for p in (root, folder, root / DOWNLOADS / name))
        archive = next((p for p in places if p.is_file()), None)
        if archive is None:
            continue
        published = hand.archive.checksum
        if published:
            checksum = checksum_like(archive, published)
            if checksum != published:
                raise UserError(
                    f"{archive}: checksum {checksum}, published: {published}; fetch it again"
                )
        target = folder / hand.gives
        if hand.archive.has_folder:
            target = folder
        say(
            f"{name}: unpacking {archive} into {target}; the archive is kept; you may delete it "
            "afterwards"
        )
        unpack(archive, target, hand.archive.nested)


def _target(download: Download, folder: Path) -> Path:
    """The folder to unpack a download into. folder: of the data set."""
    if download.into == "..":
        return folder.parent
    # folders that the archive itself contains, above the file or folder that it gives
    inner = Path(download.gives).parent.parts
    # if the data set's folder ends in these, unpack above them, so that they are not there twice
    if inner and folder.parts[-len(inner) :] == inner:
        return folder.parents[len(inner) - 1]
    return folder / download.into


def _is_there(download: Download, found: Entry, root: Path, images: bool) -> bool:
    """True if a download is here already, with those of its files that the first split needs.

    images: True if the images of the data set are here, in any place that the entry names.
    """
    needed = [file for file in download.brings if file in found.splits[0].needs]
    if not all(_exists(file, found, root) for file in needed):
        return False
    if _is_images(download, found):
        return images
    return _exists(download.gives, found, root)


def _is_images(download: Download, found: Entry) -> bool:
    """True if a download gives an image folder of the entry."""
    return Path(download.gives).name in {Path(i).name for i in found.images}


def _exists(what: str, found: Entry, root: Path) -> bool:
    """True if a part of the data set (a path below its folder) is here."""
    # a part may be beside the image folder or inside it
    places = [root / f for f in found.folders]
    return any(
        (p / what).exists() or any((p / i / what).exists() for i in found.images) for p in places
    )
