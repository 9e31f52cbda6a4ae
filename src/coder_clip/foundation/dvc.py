"""Access to DVC: commit phases; move objects between workspace, cache and remote, each one verified."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import UserError, one_line
from .git import git
from .hashes import Hashes

OBJECT_IN = re.compile(r"\b[0-9a-f]{32}(?:\.dir)?\b")  # in the text of a dvc.lock or .dvc file
AGAIN = "Nothing is lost: when that is fixed, 'coder-clip record' does it"
WAIT = 60.0  # seconds that another DVC command may take
MISSING = "not in the remote"
CORRUPT = "corrupt in the remote"


def unavailable() -> str:
    """Why nothing can be recorded in this folder; "" if it can."""
    if not Path(".dvc").is_dir():
        return "no DVC repository here"
    try:
        git("rev-parse", "--git-dir")
    except (OSError, UserError):
        return "no Git repository here, or no git installed (a clone has one; otherwise 'git init')"
    return ""


def commit(addresses: Iterable[str]) -> None:
    """Run `dvc commit` for these stages. UserError with DVC's message if it fails.

    Waits a while for another DVC command. A killed one counts as well until the system has removed it, which in a
    container can take a moment.
    """
    command = [sys.executable, "-m", "dvc", "commit", "--force", "--no-relink", *addresses]
    until, told = time.monotonic() + WAIT, False
    while why := _run(command):
        if " is busy" not in why or time.monotonic() > until:
            raise UserError(f"DVC did not record ({one_line(why, 500)}). {AGAIN}")
        if not told:
            print(f"coder-clip: DVC is busy, waiting up to {WAIT:.0f} s", file=sys.stderr, flush=True)
        told = True
        time.sleep(1)


def _run(command: list[str]) -> str:
    """Run DVC. Returns its error message, "" without one: it ends with status 0 even if its cache is full."""
    environment = {"DVC_NO_ANALYTICS": "1", **os.environ}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [i for i, line in enumerate(said) if line.startswith("ERROR")]
    if errors:
        first = said[errors[0]].removeprefix("ERROR: ")
        return " ".join([first, *said[errors[0] + 1 :]]) if " is busy" in first else first
    return (said[-1:] or ["it was stopped"])[0] if done.returncode else ""


class Store:
    """Objects in DVC's cache and in a remote. remote: its name; default: DVC's default remote."""

    def __init__(self, hashes: Hashes, remote: str | None = None, jobs: int | None = None) -> None:
        from dvc.repo import Repo

        self._hashes, self._name = hashes, remote
        with _dvc("DVC cannot work here"):
            self._repo = Repo()
        self._options = {"check_exists": False, "batch_size": jobs}
        self.cache: Any = self._repo.cache.local

    @cached_property
    def remote(self) -> Any:
        """The remote's object store. UserError if none is configured."""
        with _dvc("no remote"):
            remote = self._repo.cloud.get_remote_odb(self._name, "push")
        if remote.fs.protocol == "ssh":
            # (): asyncssh reads the files of OpenSSH; None, as DVC leaves it, checks no host key
            remote.fs.fs_args["known_hosts"] = ()
        return remote

    def path(self, oid: str) -> str:
        return os.path.relpath(str(self.cache.oid_to_path(oid)))

    def good(self, oid: str) -> bool:
        """True if the cache has this object, with the right content."""
        path = self.path(oid)
        return os.path.isfile(path) and self._hashes.md5(path) == oid.removesuffix(".dir")

    def files(self, out: str, oid: str) -> dict[str, str]:
        """Path in the workspace -> object of each file of an out, whose own object must be good.

        UserError if the listing, which comes from other people, names a file outside the out.
        """
        if not oid.endswith(".dir"):
            return {out: oid}
        listing = json.loads(Path(self.path(oid)).read_text(encoding="utf-8"))
        for entry in listing:
            _check_name(str(entry["relpath"]), out or oid)
        return {f"{out}/{entry['relpath']}": entry["md5"] for entry in listing}

    def wanted(self, outs: Mapping[str, str]) -> dict[str, str]:
        """Object -> path of all objects of these outs. Of a folder without a good listing, the listing alone."""
        found = {oid: out for out, oid in outs.items()}
        for out, oid in outs.items():
            if oid.endswith(".dir") and self.good(oid):
                found |= {md5: path for path, md5 in self.files(out, oid).items()}
        return found

    def repair(self, outs: Mapping[str, str]) -> list[str]:
        """Replace bad or missing cache objects by files of the workspace; returns the paths that stay bad."""
        bad = []
        for out, oid in outs.items():
            if oid.endswith(".dir") and not self.good(oid):
                here = {p.removeprefix(f"{out}/"): self._hashes.md5(p) for p in files_below(out)}
                if folder_md5(here) != oid:
                    bad.append(out)
                    continue
                self._discard(oid)
                self.cache.add_bytes(oid, folder_list(here))
            for path, md5 in self.files(out, oid).items():
                if self.good(md5):
                    continue
                self._discard(md5)
                if os.path.isfile(path) and self._hashes.md5(path) == md5:
                    self.cache.add(path, self.cache.fs, md5, check_exists=False)
                else:
                    bad.append(path)
        return bad

    def _discard(self, oid: str) -> None:
        Path(self.path(oid)).unlink(missing_ok=True)

    def checkout(self, addresses: list[str]) -> None:
        """Check out stages whose objects are all in the cache. UserError if DVC fails."""
        if not addresses:  # for DVC that means all stages, and it deletes files that it cannot replace
            return
        with _dvc("DVC could not put files in place"):
            self._repo.checkout(targets=addresses, force=True)

    # ---- the remote

    def fetch(self, oids: Collection[str]) -> dict[str, str]:
        """Download objects into the cache and verify them; returns object -> reason of those that failed.

        UserError if the remote is not reached.
        """
        missing = [oid for oid in oids if not self.good(oid)]
        if not missing:
            return {}
        errors: dict[str, BaseException] = {}
        for oid in missing:
            self._discard(oid)
        with _reaching():
            paths = [self.remote.oid_to_path(oid) for oid in missing]
            options = {**self._options, "on_error": errors.__setitem__, "verify": False}
            self.cache.add(paths, self.remote.fs, missing, **options)
        absent = [oid for oid, error in errors.items() if isinstance(error, FileNotFoundError)]
        if not absent and len(errors) == len(missing):
            raise UserError(f"remote not reached: {next(iter(errors.values()))}")
        found = {oid: MISSING if oid in absent else str(error) for oid, error in errors.items()}
        for oid in missing:
            if oid not in found and not self.good(oid):
                found[oid] = CORRUPT if os.path.isfile(self.path(oid)) else MISSING
                self._discard(oid)
        return found

    def push(self, bad: Mapping[str, str]) -> None:
        """Upload objects of the cache, listings last, so that a listing means that its files are there.

        bad: object -> what is wrong with it in the remote.
        """
        errors: dict[str, BaseException] = {}
        with _reaching():
            for oid in (oid for oid, why in bad.items() if why != MISSING):
                self.remote.fs.remove(self.remote.oid_to_path(oid))
            for lists in (False, True):
                oids = [oid for oid in bad if oid.endswith(".dir") is lists]
                paths = [self.path(oid) for oid in oids]
                self.remote.add(paths, self.cache.fs, oids, **self._options, on_error=errors.__setitem__)
        if errors:
            why = next(iter(errors.values()))
            raise UserError(f"not pushed: {why}; 'coder-clip push' goes on where it stopped")

    def listing(self) -> dict[str, dict[str, Any]]:
        """Object -> the remote's file information. Files that are being written appear under their names."""
        fs, root = self.remote.fs, self.remote.path
        with _reaching(), suppress(FileNotFoundError):
            if fs.protocol == "local":
                if in_the_way := [p for p in Path(root).parents if p.is_file()]:
                    raise UserError(f"remote not reached: {in_the_way[0]} is not a directory")
                found = {path: fs.info(path) for path in fs.find(root)}
            else:
                fs.fs.invalidate_cache()
                found = fs.fs.find(root, detail=True)
            return {"".join(path.split("/")[-2:]): {**info, "path": path} for path, info in found.items()}
        return {}

    def bad_in_remote(self, oids: Iterable[str], thorough: bool = False) -> dict[str, str]:
        """Objects that are missing or corrupt in the remote, with the reason.

        Sizes are compared, and contents where that needs no download: in a directory, and by ETags on S3.
        thorough: compare all contents; over SSH the server computes the hashes.
        """
        there, found = self.listing(), {}
        for oid in oids:
            if oid not in there:
                found[oid] = MISSING
            elif not self._intact(oid, there[oid], thorough):
                found[oid] = CORRUPT
        return found

    def _intact(self, oid: str, info: Mapping[str, Any], thorough: bool) -> bool:
        md5, here, size = oid.removesuffix(".dir"), self.path(oid), int(info["size"])
        mine = self.good(oid)
        if mine and os.path.getsize(here) != size:
            return False
        if self.remote.fs.protocol == "local":
            return self._hashes.md5(str(info["path"])) == md5
        etag = "" if info.get("SSEKMSKeyId") else str(info.get("ETag", "")).strip('"')
        if re.fullmatch(r"[0-9a-f]{32}", etag):  # uploaded in one part
            return etag == md5
        return not thorough or self._md5_there(oid) == md5

    def _md5_there(self, oid: str) -> str:
        """md5 of an object in the remote: computed by the server over SSH, else by reading it back."""
        path = self.remote.oid_to_path(oid)
        with _reaching():
            if self.remote.fs.protocol == "ssh":
                with suppress(Exception):  # no shell, or no md5sum
                    return str(self.remote.fs.fs.checksum(path))
            digest = hashlib.md5(usedforsecurity=False)
            with self.remote.fs.open(path, "rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()


def _check_name(name: str, out: str) -> None:
    """Raise UserError for a path that leaves its folder, or that Git or this machine would read differently."""
    parts = name.replace("\\", "/").split("/")
    if name != name.strip() or {"", ".", ".."}.intersection(parts) or ".git" in map(str.lower, parts):
        raise UserError(
            f"the list of files of {out} names '{name}', which is outside of it; nothing was changed"
        )


@contextmanager
def _dvc(what: str) -> Iterator[None]:
    """Turn errors of DVC, also that it lacks a package for a remote, into one line."""
    from dvc.exceptions import DvcException

    try:
        yield
    except (DvcException, ImportError) as error:
        lacks = "is supported, but requires" in str(error) or isinstance(error, ImportError)
        advice = "'make remote' installs what it needs" if lacks else "docs/sharing.md"
        raise UserError(f"{what}: {one_line(error)} ({advice})") from error


@contextmanager
def _reaching() -> Iterator[None]:
    """Turn errors of a file system into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"remote not reached: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error


def files_below(out: str) -> list[str]:
    """The file itself, or all files of a folder but hidden ones (.dvcignore)."""
    if os.path.isfile(out):
        return [out]
    found = []
    for folder, folders, names in os.walk(out):
        folders[:] = [f for f in folders if not f.startswith(".")]
        found += [os.path.join(folder, name) for name in names if not name.startswith(".")]
    return sorted(found)


def folder_list(files: Mapping[str, str]) -> bytes:
    """The listing that DVC stores for a folder. files: path relative to the folder -> md5."""
    listing = [{"md5": files[p], "relpath": p} for p in sorted(files)]
    return json.dumps(listing, sort_keys=True).encode()


def folder_md5(files: Mapping[str, str]) -> str:
    """DVC's hash of a folder."""
    return f"{hashlib.md5(folder_list(files), usedforsecurity=False).hexdigest()}.dir"
