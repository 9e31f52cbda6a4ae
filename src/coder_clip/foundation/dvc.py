"""DVC's objects: move them between workspace, cache and remote by their hash, each one verified.

Nothing else of DVC is used. Lists of files come from other people: `read_list` checks them before
anything is written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import UserError, one_line
from ..rerun.hashes import Hashes
from .dvc_config import check_config
from .git import git

MD5 = re.compile(r"[0-9a-f]{32}")
MISSING = "not in the remote"
CORRUPT = "corrupt in the remote"
# bytes of a name, and of a whole path: file systems take 255 of a name, and a file that is being
# written has a longer one
LONGEST_NAME, LONGEST_PATH = 200, 1000


class NoRemote(UserError):
    """No remote is configured, or it does not answer."""


def unavailable() -> str:
    """Why nothing can be recorded in this folder; "" if it can.

    ModuleNotFoundError if DVC is not installed: it comes with an extra.
    """
    import_module("dvc")
    if not Path(".dvc").is_dir():
        return "no DVC repository here"
    try:
        git("rev-parse", "--git-dir")
    except (OSError, UserError):
        return "no Git repository here, or no git installed (a clone has one; otherwise 'git init')"
    return ""


class Store:
    """Objects in DVC's cache and in a remote.

    An object (``oid``) is the md5 of a file, or the hash of a folder's listing, which ends in
    ".dir". An out is an output of a phase: the path of a file or folder.
    remote: name of the remote; default: DVC's default remote. jobs: transfers at a time.
    """

    def __init__(self, hashes: Hashes, remote: str | None = None, jobs: int | None = None) -> None:
        if not Path(".dvc").is_dir():
            raise UserError("not inside of a DVC repository; a clone is one (otherwise 'dvc init')")
        check_config()
        from dvc.repo import Repo  # after the check: it reads the configuration

        self._hashes, self._name = hashes, remote
        with _dvc("DVC cannot work here"):
            self._repo = Repo()
        self._options = {"check_exists": False, "batch_size": jobs}
        self.cache: Any = self._repo.cache.local
        folder = Path(os.path.relpath(self.cache.path))
        in_the_way = [p for p in (folder, *folder.parents) if p.exists() and not p.is_dir()]
        if in_the_way:
            with _writing():
                raise NotADirectoryError(errno.ENOTDIR, f"{in_the_way[0]} is a file")

    @cached_property
    def remote(self) -> Any:
        """The remote's object store. NoRemote if none is configured."""
        with _dvc("no remote", NoRemote):
            remote = self._repo.cloud.get_remote_odb(self._name, "push")
        if remote.fs.protocol == "ssh":
            # (): asyncssh reads the files of OpenSSH; None, as DVC leaves it, checks no host key
            remote.fs.fs_args["known_hosts"] = ()
        return remote

    def path(self, oid: str) -> str:
        """The path of an object in the cache."""
        return os.path.relpath(str(self.cache.oid_to_path(oid)))

    def good(self, oid: str) -> bool:
        """True if the cache has this object, with the right content."""
        path = self.path(oid)
        return os.path.isfile(path) and self._hashes.md5(path) == oid.removesuffix(".dir")

    def files(self, out: str, oid: str) -> dict[str, str]:
        """Path in the workspace -> object, for each file of an out.

        The out's own object must be good. UserError as in `read_list`.
        """
        if not oid.endswith(".dir"):
            return {out: oid}
        names = read_list(Path(self.path(oid)).read_bytes(), out)
        return {f"{out}/{name}": md5 for name, md5 in names.items()}

    def wanted(self, outs: Mapping[str, str]) -> dict[str, str]:
        """Object -> path, for all objects of these outs (out -> its object).

        Without a good listing, the files of a folder are not known; then only the listing is there.
        """
        found = {oid: out for out, oid in outs.items()}
        for out, oid in outs.items():
            if oid.endswith(".dir") and self.good(oid):
                found |= {md5: path for path, md5 in self.files(out, oid).items()}
        return found

    def store(self, outs: Mapping[str, str]) -> list[str]:
        """Copy files of the workspace into the cache, unless it has a good object already.

        outs: out -> its object. Returns the paths whose objects are still not good.
        """
        bad = []
        for out, oid in outs.items():
            # a listing is no file of the workspace: it is made again from the hashes of the files
            if oid.endswith(".dir") and not self.good(oid):
                md5s = {p.removeprefix(f"{out}/"): self._hashes.md5(p) for p in files_below(out)}
                if folder_md5(md5s) != oid:
                    bad.append(out)
                    continue
                with _writing():
                    self._discard(oid)
                    self.cache.add_bytes(oid, folder_list(md5s))
            for path, md5 in self.files(out, oid).items():
                if self.good(md5):
                    continue
                if not os.path.isfile(path) or self._hashes.md5(path) != md5:
                    bad.append(path)
                    continue
                with _writing():
                    self._discard(md5)
                    self.cache.add(path, self.cache.fs, md5, check_exists=False)
                if not self.good(md5):
                    bad.append(path)
        return bad

    def entry(self, path: str) -> dict[str, Any]:
        """A file or folder of the clone as dvc.lock names it, with the hash of `dvc status`."""
        from dvc_data.hashfile.build import build

        folder, fs, ignored = os.path.abspath(path), self.cache.fs, self._repo.dvcignore
        with _dvc(f"{path} cannot be hashed"):
            _, meta, found = build(self.cache, folder, fs, "md5", dry_run=True, ignore=ignored)
        entry = {"path": path, "hash": "md5", "md5": found.hash_info.value, "size": meta.size}
        if meta.isdir:
            entry["nfiles"] = meta.nfiles
        return entry

    def _discard(self, oid: str) -> None:
        """Delete an object from the cache, if it is there."""
        path = Path(self.path(oid))
        if path.is_dir() and not path.is_symlink():
            raise UserError(f"{path} is a folder, and DVC's cache has only files there; remove it")
        path.unlink(missing_ok=True)

    def place(self, path: str, oid: str) -> None:
        """Link or copy a good object to a path of the workspace.

        DVC's ``cache.type`` says which.

        The file appears whole, and replaces a file that was there.
        """
        from dvc_objects.fs import generic

        # beside the target: a rename within one file system is atomic
        part = Path(path).with_name(f".{Path(path).name}.{os.getpid()}")
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            part.unlink(missing_ok=True)
            fs, links = self.cache.fs, list(self.cache.cache_types)
            generic.transfer(
                fs, self.cache.oid_to_path(oid), fs, os.path.abspath(part), links=links
            )
            part.replace(path)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    # ---- the remote

    def fetch(self, oids: Collection[str]) -> dict[str, str]:
        """Download objects into the cache and verify them.

        Returns object -> reason, for each object that failed. NoRemote if the remote is not
        reached.
        """
        wanted = [oid for oid in oids if not self.good(oid)]
        missing = [oid for oid in wanted if not self._in_the_way(oid)]
        no_files = dict.fromkeys(set(wanted).difference(missing), CORRUPT)
        if not missing:
            return no_files
        errors: dict[str, BaseException] = {}  # object -> why it was not downloaded
        # a file that the cache has under one of these names is damaged
        for oid in missing:
            self._discard(oid)
        with _reaching():
            paths = [self.remote.oid_to_path(oid) for oid in missing]
            options = {**self._options, "on_error": errors.__setitem__, "verify": False}
            self.cache.add(paths, self.remote.fs, missing, **options)
        absent = [oid for oid, error in errors.items() if isinstance(error, FileNotFoundError)]
        # all failed, and none because it is missing: the remote itself does not answer
        if not absent and len(errors) == len(missing):
            raise NoRemote(f"remote not reached: {one_line(next(iter(errors.values())))}")
        failed = {oid: str(error) for oid, error in errors.items()}
        failed |= dict.fromkeys(absent, MISSING) | no_files
        # all downloads are hashed, because the remote is not trusted
        for oid in missing:
            if oid not in failed and not self.good(oid):
                failed[oid] = MISSING
                if os.path.isfile(self.path(oid)):
                    failed[oid] = CORRUPT
                self._discard(oid)
        return failed

    def _in_the_way(self, oid: str) -> bool:
        """True if a directory as remote has a pipe or a folder in place of an object.

        Reading a pipe waits for ever.
        """
        if self.remote.fs.protocol != "local":
            return False
        path = self.remote.oid_to_path(oid)
        return os.path.lexists(path) and not os.path.isfile(path)

    def push(self, bad: Mapping[str, str]) -> None:
        """Upload objects of the cache.

        Listings come last: a listing in the remote means that its files are there, too.

        bad: the objects -> what is wrong with them in the remote (MISSING or CORRUPT).
        """
        errors: dict[str, BaseException] = {}  # object -> why it was not uploaded
        with _reaching():
            for oid, problem in bad.items():
                if problem != MISSING:
                    self.remote.fs.remove(self.remote.oid_to_path(oid))
            for listings in (False, True):
                oids = [oid for oid in bad if oid.endswith(".dir") is listings]
                paths = [self.path(oid) for oid in oids]
                self.remote.add(
                    paths, self.cache.fs, oids, **self._options, on_error=errors.__setitem__
                )
        if errors:
            why = next(iter(errors.values()))
            raise UserError(f"not pushed: {why}; 'coder-clip push' goes on where it stopped")

    def listing(self) -> dict[str, dict[str, Any]]:
        """Object -> its file information in the remote (fsspec's, with a ``path``).

        Files that another push is writing are listed too, under their temporary names.
        """
        fs, root = self.remote.fs, self.remote.path
        with _reaching(), suppress(FileNotFoundError):
            if fs.protocol == "local":
                in_the_way = [p for p in Path(root).parents if p.is_file()]
                if in_the_way:
                    raise NoRemote(f"remote not reached: {in_the_way[0]} is not a directory")
                info_of = {path: fs.info(path) for path in fs.find(root)}
            else:
                # fsspec keeps listings, and another machine may have pushed since
                fs.fs.invalidate_cache()
                info_of = fs.fs.find(root, detail=True)
            # the last two parts of a path, a folder of two digits and the rest, are the hash
            return {
                "".join(path.split("/")[-2:]): {**info, "path": path}
                for path, info in info_of.items()
            }
        return {}  # the remote has no folder yet

    def bad_in_remote(self, oids: Iterable[str], thorough: bool = False) -> dict[str, str]:
        """Object -> MISSING or CORRUPT, for each object that is so in the remote.

        Sizes are compared, and contents where this needs no download: in a directory, and by ETags
        on S3.
        thorough: compare all contents; over SSH the server computes the hashes.
        """
        listing, bad = self.listing(), {}
        for oid in oids:
            if oid not in listing:
                bad[oid] = MISSING
            elif not self._intact(oid, listing[oid], thorough):
                bad[oid] = CORRUPT
        return bad

    def _intact(self, oid: str, info: Mapping[str, Any], thorough: bool) -> bool:
        """True if an object in the remote is not corrupt. info: its entry in `listing`."""
        if self._in_the_way(oid):
            return False
        md5 = oid.removesuffix(".dir")
        size = int(info["size"])
        # the right size is known only from a good object in the cache
        if self.good(oid) and os.path.getsize(self.path(oid)) != size:
            return False
        if self.remote.fs.protocol == "local":
            return self._hashes.md5(str(info["path"])) == md5
        # with KMS encryption the ETag is not an md5
        etag = "" if info.get("SSEKMSKeyId") else str(info.get("ETag", "")).strip('"')
        if re.fullmatch(r"[0-9a-f]{32}", etag):  # uploaded in one part
            return etag == md5
        # nothing else can be compared without a download
        if not thorough:
            return True
        return self._md5_in_remote(oid) == md5

    def _md5_in_remote(self, oid: str) -> str:
        """md5 of an object in the remote.

        Computed by the server over SSH, else by reading it back.
        """
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


def read_list(data: bytes, out: str) -> dict[str, str]:
    """Read DVC's listing of a folder: path below the folder -> md5. UserError if it is not valid.

    data: the JSON text. out: the folder, for messages.
    """

    def fault(what: str) -> UserError:
        return UserError(f"the list of files of {out} {what}; nothing was changed")

    try:
        entries = json.loads(data)
    except (ValueError, RecursionError):
        raise fault("is not JSON") from None
    if not isinstance(entries, list):
        raise fault("is not a list")
    found: dict[str, str] = {}
    for n, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or entry.keys() != {"md5", "relpath"}:
            raise fault(f"has an entry, the {n}., with other keys than md5 and relpath")
        name, md5 = entry["relpath"], entry["md5"]
        if not isinstance(name, str) or not _stays_below(name):
            raise fault(f"names {one_line(ascii(name))}, which is outside of it")
        if not _fits(name):
            raise fault(f"has a name that no result has, {one_line(ascii(name))}")
        if not isinstance(md5, str) or not MD5.fullmatch(md5):
            raise fault(f"gives '{name}' the hash {one_line(ascii(md5))}, which is not an md5")
        if name in found:
            raise fault(f"names '{name}' twice")
        found[name] = md5
    for name in found:
        # a folder above this file that is listed as a file
        above = next((str(p) for p in PurePosixPath(name).parents if str(p) in found), "")
        if above:
            raise fault(f"names '{above}' as a file and as a folder")
    return found


def _stays_below(name: str) -> bool:
    """False for a path that leaves its folder, or that Git or this machine reads differently."""
    # a backslash separates folders on some machines, and .GIT is .git on others
    parts = name.replace("\\", "/").split("/")
    if {"", ".", ".."}.intersection(parts) or ".git" in map(str.lower, parts):
        return False
    return name == name.strip() and name.isprintable()


def _fits(name: str) -> bool:
    """False for a hidden or a very long path.

    `record` writes none, and a file system or a shell would take it for something else.
    """
    parts = [os.fsencode(part) for part in name.split("/")]
    hidden = any(part.startswith(b".") for part in parts)
    return not hidden and max(map(len, parts)) <= LONGEST_NAME and len(name) <= LONGEST_PATH


@contextmanager
def _dvc(what: str, kind: type[UserError] = UserError) -> Iterator[None]:
    """Turn errors of DVC into an error of one line. what: its first words. kind: its type.

    A remote whose Python package is not installed is such an error, too.
    """
    from dvc.exceptions import DvcException

    try:
        yield
    except (DvcException, ImportError, OSError) as error:
        advice = "docs/sharing.md"
        if "is supported, but requires" in str(error) or isinstance(error, ImportError):
            advice = "'make remote' installs what it needs"
        raise kind(f"{what}: {one_line(error)} ({advice})") from error


@contextmanager
def _writing() -> Iterator[None]:
    """Turn an error of writing to the cache into a UserError of one line."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"DVC's cache cannot be written ({error.strerror or error}). Nothing is lost: when "
            "that is fixed, 'coder-clip record' does it"
        ) from error


@contextmanager
def _reaching() -> Iterator[None]:
    """Turn errors of the remote's file system into a NoRemote of one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise NoRemote(f"remote not reached: {one_line(error, None)}") from error


def files_below(out: str) -> list[str]:
    """Paths of an out's files.

    The file itself, or all files of a folder except hidden ones (.dvcignore).
    """
    if os.path.isfile(out):
        return [out]
    found = []
    for folder, folders, names in os.walk(out):
        # in place: os.walk does not enter the folders that are removed here
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
