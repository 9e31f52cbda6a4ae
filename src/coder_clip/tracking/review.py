"""`coder-clip review`: another person's results beside ours, without running anything of theirs.

The files of their commit are written to a folder of its own, as data: sources are parsed and never
imported, their configuration is read by our code, and neither their Snakefile nor their
``.dvc/config`` is read. The judge then compares their certificates with these files. All of it can
be hostile, so names are checked and sizes are bounded.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import chdir
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import UserError, one_line
from ..foundation import dvc
from ..foundation.git import git
from ..foundation.hashes import Hashes
from ..foundation.reads import lookup
from ..foundation.yaml_file import read_yaml
from ..pipeline.config import load_config
from ..pipeline.phase_list import Phase, phases
from .certificates import FOLDER, Certificate, Job, read
from .compare import differences
from .judge import Judge
from .stages import Tracked, is_below, is_in, tracked

FILES, FILE_SIZE, TREE_SIZE = 20_000, 50_000_000, 500_000_000  # most of a commit, in bytes
OBJECT_SIZE = 2_000_000  # bytes of a certificate or of a list of files
OBJECTS = 20_000  # certificates, and files of a phase
COMMAND = 2_000  # letters
REFUSED = "NOT certified"
IMAGES = "listing("  # a key that looks at all images, wherever a configuration says that they are


@dataclass
class Phases:
    """What is known of their record.

    outs: recorded phase -> out -> object. files: phase -> path -> md5. certificates: phase ->
    paths. unknown: phase -> why it cannot be checked. places: path -> its object in our cache.
    """

    outs: dict[str, dict[str, str]]
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    certificates: dict[str, list[str]] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    places: dict[str, Path] = field(default_factory=dict)


def review(ref: str, config: str | Path, remote: bool = True) -> Iterator[str]:
    """Lines about a commit: its certificates, its numbers beside ours, and what is not checked.

    remote: look for certificates in our own remote, too. UserError if there is no such commit or
    it has more than a review reads; and after the last line, if a phase is not certified.
    """
    commit = _commit(ref)
    ours = tracked(config)
    yield from _about(commit)
    with tempfile.TemporaryDirectory(prefix="coder-clip-review-") as folder:
        there = Path(folder).resolve()
        left_out = _extract(commit, there)
        if left_out:
            yield f"not read: {left_out[0]}" + (
                f" (and {len(left_out) - 1} more)" * (len(left_out) > 1)
            )
        if not (there / ours.config).is_file():
            raise UserError(f"{ref} has no {ours.config}; --config names another configuration")
        theirs = Tracked(ours.config)
        with chdir(there):
            root, kept = theirs.root, theirs.kept  # kept as they are: the folder decides them
            outs, said = _recorded(theirs)
        yield from said
        record = Phases(outs)
        yield from _bring(record, root, kept, remote)
        with chdir(there):
            said, verdicts = _judged(theirs, record)
        yield from said
        yield from (f"{phase}: {verdict}" for phase, verdict in verdicts.items())
        yield "numbers, theirs beside ours:"
        yield from differences(_numbers(theirs, there, record.places), _numbers(ours))
        yield (
            "not checked: which jobs and inputs there should be, which their Snakefile says, and "
            "whether the jobs make these bytes ('coder-clip verify' in a checkout does, and runs "
            "their code)"
        )
    refused = [phase for phase, verdict in verdicts.items() if verdict.startswith(REFUSED)]
    if refused:
        raise UserError(f"{REFUSED}: {', '.join(refused)}; the lines above say why")


def _commit(ref: str) -> str:
    """The hash of a commit. UserError if there is none."""
    try:
        named = ["--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"]
        return git("rev-parse", *named).decode().strip()
    except (UserError, ValueError):
        raise UserError(
            f"no commit '{one_line(ref)}' in this clone; 'git fetch' brings branches and forks"
        ) from None


def _about(commit: str) -> Iterator[str]:
    """The commit, and which files of its workflow differ from ours."""
    said = git("log", "-1", "--no-show-signature", "--format=%h %an, %as: %s", commit)
    yield one_line(said.decode(errors="replace"))
    options = ["-r", "--name-only", "-z", "HEAD", commit]
    changed = git("diff-tree", *options, "--", "Snakefile", "workflow")
    names = [name for name in changed.decode(errors="replace").split("\0") if name]
    if names:
        yield f"its workflow is another one than ours: {one_line(', '.join(names))}"


# ---- the files of a commit -----------------------------------------------------------------------


def _extract(commit: str, folder: Path) -> list[str]:
    """Write the regular files of a commit to a folder; returns the paths of other ones.

    The raw objects are read: no filter and no hook runs. UserError for a commit that is too large.
    """
    entries, left_out = [], []
    size = 0
    for line in git("ls-tree", "-r", "-z", "-l", commit).split(b"\0")[:-1]:
        about, _, name = line.partition(b"\t")
        mode, kind, oid, bytes_or_dash = about.decode().split()
        path = name.decode(errors="surrogateescape")
        if not _is_plain(path) or mode == "120000" or kind != "blob":
            if not path.startswith("."):
                left_out.append(one_line(path))
            continue
        if int(bytes_or_dash) > FILE_SIZE:
            left_out.append(one_line(path))
            continue
        size += int(bytes_or_dash)
        entries.append((path, oid))
    if size > TREE_SIZE or len(entries) > FILES:
        raise UserError(
            f"{commit[:12]} has {len(entries)} files with {size // 1_000_000} MB, which is more "
            "than a review reads"
        )
    with subprocess.Popen(
        ["git", "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as objects:
        assert objects.stdin is not None
        assert objects.stdout is not None
        for path, oid in entries:
            objects.stdin.write(f"{oid}\n".encode())
            objects.stdin.flush()
            length = int(objects.stdout.readline().split()[2])
            data = objects.stdout.read(length + 1)[:-1]
            try:
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            except OSError:
                left_out.append(one_line(path))
        objects.stdin.close()
    return left_out


def _is_plain(path: str) -> bool:
    """False for hidden paths, and for names that no file of this project has."""
    parts = path.split("/")
    hidden = any(part.startswith(".") for part in parts)
    return is_below(path) and path.isprintable() and not hidden and "\\" not in path


# ---- their record --------------------------------------------------------------------------------


def _recorded(theirs: Tracked) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Recorded phase -> out -> object, and lines about what is wrong with dvc.lock."""
    outside = [out for outs in theirs.outs_of.values() for out in outs if not is_below(out)]
    if outside:
        raise UserError(f"their results are outside of a clone: '{one_line(outside[0])}'")
    try:
        outs = theirs.recorded()
    except UserError as error:
        return {}, [f"their record: {error}"]
    return outs, [] if outs else [f"their record: {theirs.lock} has nothing"]


def _bring(record: Phases, root: str, kept: list[str], remote: bool) -> Iterator[str]:
    """Look for their certificates in our cache and our own remote; returns lines."""
    store = dvc.Store(Hashes())
    lists = {oid for outs in record.outs.values() for oid in outs.values() if oid.endswith(".dir")}
    yield from _fetched(store, lists, remote)
    for phase, outs in record.outs.items():
        files: dict[str, str] = {}
        for out, oid in outs.items():
            if out in kept:
                continue  # in Git
            if oid.endswith(".dir") and not store.good(oid):
                record.unknown[phase] = f"the list of files of {out} is not in our cache or remote"
                continue
            try:
                files |= store.files(out, oid)
            except UserError as error:
                record.unknown[phase] = str(error)
        if len(files) > OBJECTS:
            record.unknown[phase] = f"it has {len(files)} files, more than a review reads"
            continue
        record.files[phase] = files
    folder = f"{root}/{FOLDER}"
    wanted = {
        md5 for files in record.files.values() for path, md5 in files.items() if is_in(path, folder)
    }
    yield from _fetched(store, wanted, remote)
    for phase, files in record.files.items():
        record.certificates[phase] = []
        for path, md5 in files.items():
            here = store.good(md5)
            if here:
                record.places[path] = Path(store.path(md5)).absolute()
            if not is_in(path, folder):
                continue
            if here and record.places[path].stat().st_size <= OBJECT_SIZE:
                record.certificates[phase].append(path)
            else:
                record.unknown[phase] = f"{path} is not in our cache or remote"


def _fetched(store: dvc.Store, oids: Iterable[str], remote: bool) -> Iterator[str]:
    """Download small objects from our remote; a line if it is not reached."""
    missing = [oid for oid in oids if not store.good(oid)]
    if not missing or not remote:
        return
    try:
        listing = store.listing()
        small = [o for o in missing if o in listing and int(listing[o]["size"]) <= OBJECT_SIZE]
        store.fetch(small)
    except UserError as error:
        yield f"our remote: {error}"


def _numbers(
    t: Tracked, folder: Path = Path(), places: Mapping[str, Path] | None = None
) -> dict[str, Path]:
    """Name below the results folder -> path, of tables and metrics."""
    found: dict[str, Path] = {}
    outs = [f"{t.root}/{name}" for phase in phases() for name in phase.keeps]
    for path, place in (places or {}).items():
        if any(is_in(path, out) for out in outs):
            found[path.removeprefix(f"{t.root}/")] = place
    for out in outs:
        for file in map(Path, dvc.files_below(str(folder / out))):
            found[file.relative_to(folder / t.root).as_posix()] = file
    return found


# ---- their certificates --------------------------------------------------------------------------


def _judged(theirs: Tracked, record: Phases) -> tuple[list[str], dict[str, str]]:
    """Lines about their configuration, and on each phase.

    They say whether its certificates hold in the tree of the commit.
    """
    value, said = _values(theirs)
    certificates = [path for paths in record.certificates.values() for path in paths]
    stated = {path: read(record.places[path]) for path in certificates}
    made: dict[str, str] = {}
    for certificate in stated.values():
        if certificate is not None:
            made |= certificate.outputs
    review = _Review(theirs, record, made, Judge(theirs.root, [], value))
    verdicts: dict[str, str] = {}
    for phase in phases():
        if phase.name in record.outs:
            verdicts[phase.name] = review.verdict(phase, stated)
        elif record.outs:
            verdicts[phase.name] = "not recorded"
    return said, verdicts


class _Review:
    """Judges their certificates, in the folder of their commit."""

    def __init__(
        self, theirs: Tracked, record: Phases, made: Mapping[str, str], judge: Judge
    ) -> None:
        self._t, self._record, self._made, self._judge = theirs, record, made, judge

    def verdict(self, phase: Phase, stated: Mapping[str, Certificate | None]) -> str:
        """Whether a phase is certified, in one line."""
        paths = self._record.certificates.get(phase.name, [])
        unchecked: list[str] = []
        bad: list[str] = []
        covered = set[str]()
        for path in paths:
            certificate = stated[path]
            if certificate is None:
                bad.append(f"{path} cannot be read")
                continue
            covered.update(certificate.outputs)
            why = self._objection(phase, certificate, unchecked)
            if why:
                bad.append(f"{path}: {why}")
        folder = f"{self._t.root}/{FOLDER}"
        files = [p for p in self._record.files.get(phase.name, {}) if not is_in(p, folder)]
        # tables and metrics of the default are in Git
        files += [p for out in self._t.keeps(phase) for p in dvc.files_below(out)]
        why = self._record.unknown.get(phase.name, "")
        if not why:  # else the certificate of a file can be among those that are not here
            bad += [f"{path} has no certificate" for path in files if path not in covered]
        if bad:
            return one_line(f"{REFUSED} ({len(bad)}): {bad[0]}", 400)
        if why or not paths:
            return one_line(f"not checked: {why or 'it has no certificates'}", 400)
        line = f"certified, {len(paths)} jobs"
        if unchecked:
            first = sorted(set(unchecked))
            line += f"; not checked: {first[0]}"
            if len(first) > 1:
                line += f" (and {len(first) - 1} more)"
        return one_line(line, 400)

    def _objection(self, phase: Phase, stated: Certificate, unchecked: list[str]) -> str:
        """Why a certificate does not hold; adds what cannot be checked."""
        job = _job(phase, stated)
        if job is None:
            return f"'{one_line(stated.command, 80)}' is not a command of this phase"
        for path in stated.outputs:
            if self._t.out_of(path) not in self._t.outs(phase):
                return f"{one_line(path)} is not an output of this phase"
        unchecked += [f"environment variable {name}" for name in stated.variables]
        values = {k: v for k, v in stated.values.items() if IMAGES not in k}
        unchecked += [f"the images behind {key}" for key in stated.values.keys() - values.keys()]
        files = {p: sha for p, sha in stated.files.items() if sha == "" or os.path.lexists(p)}
        unchecked += [f"{path}, not in the commit" for path in stated.files.keys() - files.keys()]
        kept = replace(stated, variables={}, values=values, files=files)
        try:
            return self._judge.objection(kept, job, lambda path: self._sha(path, kept, unchecked))
        except (RecursionError, OSError, ValueError) as error:
            return one_line(f"it cannot be compared: {error}")

    def _sha(self, path: str, stated: Certificate, unchecked: list[str]) -> str:
        """The sha256 of a file that a certificate names; adds what cannot be checked."""
        of_file = stated.files.get(path, "")
        claimed = stated.outputs.get(path) or stated.inputs.get(path) or of_file
        if is_below(path) and os.path.lexists(path):
            actual = self._judge.hashes.sha(path)
            if actual == claimed or not path.endswith("/"):
                return actual
            # files that Git ignores can be in a folder
            unchecked.append(f"the names in {path}")
            return claimed
        if path in self._record.places:
            return self._judge.hashes.sha256(str(self._record.places[path]))
        if claimed:
            unchecked.append(f"the bytes of {path}, not in our cache")
        # another certificate says what it made
        return self._made.get(path, claimed)


def _job(phase: Phase, stated: Certificate) -> Job | None:
    """The job that a certificate speaks of; None if its command is none of the phase."""
    command = phase.commands.get(stated.rule, "") if isinstance(stated.rule, str) else ""
    if not command or len(stated.command) > COMMAND:
        return None
    pattern = re.escape(command)
    for name in dict.fromkeys(re.findall(r"{wildcards\.(\w+)}", command)):
        place = re.escape(f"{{wildcards.{name}}}")
        pattern = pattern.replace(place, rf"(?P<{name}>\S+)", 1).replace(place, f"(?P={name})")
    pattern = re.sub(r"\\\{params\\?\.\w+\\\}", ".*", pattern)
    match = re.fullmatch(pattern, stated.command)
    if match is None:
        return None
    return Job(stated.rule, match.groupdict(), tuple(stated.inputs), tuple(stated.outputs))


def _values(theirs: Tracked) -> tuple[Any, list[str]]:
    """The value of a key of their configuration, by our code, and lines about it."""
    path = Path(theirs.config)
    config: Any = None
    lines = []
    try:
        config = load_config(path, absent=True)
    except UserError as error:
        document = read_yaml(path)
        config = document if isinstance(document, dict) else {}
        lines.append(one_line(f"their configuration is compared as it is written ({error})", 300))
    return lambda key: lookup(config, key), lines
