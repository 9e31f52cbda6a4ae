"""DVC's side: commit phases, and carry their objects between workspace, cache and remote, each one verified."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import UserError
from .hashes import Hashes, folder_list, folder_md5

OBJECT_IN = re.compile(r"\b[0-9a-f]{32}(?:\.dir)?\b")  # in the text of a dvc.lock or .dvc file
AGAIN = "Nothing is lost: when that is fixed, 'coder-clip record' does it"
MISSING = "not in the remote"
CORRUPT = "corrupt in the remote"


def commit(addresses: Iterable[str]) -> None:
    """Record stages as they are here. UserError with DVC's words where it did not.

    DVC ends with success when its cache is full, so its errors are read, too.
    """
    command = [sys.executable, "-m", "dvc", "commit", "--force", "--no-relink", *addresses]
    environment = {"DVC_NO_ANALYTICS": "1", **os.environ}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR")]
    if done.returncode or errors:
        why = (errors or said[-1:] or ["it was stopped"])[0]
        raise UserError(f"DVC did not record ({why}). {AGAIN}")


class Store:
    """Objects in DVC's cache and in its remote. remote: its name; by default the default one."""

    def __init__(self, hashes: Hashes, remote: str | None = None, jobs: int | None = None) -> None:
        from dvc.repo import Repo

        check_host_keys()
        self._repo, self._hashes, self._name = Repo(), hashes, remote
        self._options = {"check_exists": False, "batch_size": jobs}
        self.cache: Any = self._repo.cache.local

    @cached_property
    def remote(self) -> Any:
        """UserError where none is set up."""
        from dvc.exceptions import DvcException

        try:
            return self._repo.cloud.get_remote_odb(self._name, "push")
        except DvcException as error:
            raise UserError(f"no remote: {error} (docs/sharing.md)") from error

    def path(self, oid: str) -> str:
        return os.path.relpath(str(self.cache.oid_to_path(oid)))

    def good(self, oid: str) -> bool:
        """Whether the cache holds these bytes."""
        path = self.path(oid)
        return os.path.isfile(path) and self._hashes.md5(path) == oid.removesuffix(".dir")

    def files(self, out: str, oid: str) -> dict[str, str]:
        """Path in the workspace -> object of each file of an out whose own object is good."""
        if not oid.endswith(".dir"):
            return {out: oid}
        listing = json.loads(Path(self.path(oid)).read_text(encoding="utf-8"))
        return {f"{out}/{entry['relpath']}": entry["md5"] for entry in listing}

    def wanted(self, outs: Mapping[str, str]) -> dict[str, str]:
        """Object -> path of all that these outs need; of a folder whose list of files is not here the list alone."""
        found = {oid: out for out, oid in outs.items()}
        for out, oid in outs.items():
            if oid.endswith(".dir") and self.good(oid):
                found |= {md5: path for path, md5 in self.files(out, oid).items()}
        return found

    def repair(self, outs: Mapping[str, str]) -> list[str]:
        """Replace bad or missing objects of the cache by what the workspace has; the paths of those still bad."""
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
        """Put the files of stages whose objects are all in the cache into the workspace. UserError where DVC fails."""
        from dvc.exceptions import DvcException

        if not addresses:  # DVC would take that for all, and delete what it cannot replace
            return
        try:
            self._repo.checkout(targets=addresses, force=True)
        except DvcException as error:
            raise UserError(f"DVC could not put files in place: {error}") from error

    # ---- the remote

    def fetch(self, oids: Collection[str]) -> dict[str, str]:
        """Bring objects into the cache, and verify each; of those that could not be had the reason.

        UserError where the remote is not reached.
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
        """Send objects of the cache, lists of files last, so that a list means that its files are there.

        bad: what is wrong with each in the remote.
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
        """What the remote says of each file that it holds, by object; of those being written by their names."""
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
        """Of these objects those that the remote lacks or holds corrupt, with the reason.

        Compared are sizes, and contents where that costs no download: in a directory, and by the ETags of S3.
        thorough: every content; over SSH the server computes it.
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
        if re.fullmatch(r"[0-9a-f]{32}", etag):
            return etag == md5
        if mine and re.fullmatch(
            r"[0-9a-f]{32}-\d+", etag
        ):  # sent in parts: those of DVC's client, or of another
            from s3fs.core import calculate_chunksize  # type: ignore[import-untyped]

            part = int(calculate_chunksize(size))
            if etag.endswith(f"-{-(-size // part)}"):
                if self._hashes.etag(here, part) == etag:
                    return True
                thorough = True
        return not thorough or self._md5_there(oid) == md5

    def _md5_there(self, oid: str) -> str:
        """Computed where the file is, over SSH; else it is read back."""
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

    # ---- notes beside the objects: small, and never needed

    def note(self, md5: str) -> list[dict[str, str]]:
        """The environments in which the files of a record were made; empty where unknown. Asks the cache alone."""
        with suppress(OSError, ValueError):
            return list(json.loads(self._note(md5).read_text(encoding="utf-8")))
        return []

    def write_note(self, md5: str, environments: list[dict[str, str]]) -> None:
        if environments and not self._note(md5).exists():
            self._note(md5).parent.mkdir(parents=True, exist_ok=True)
            self._note(md5).write_text(json.dumps(environments), encoding="utf-8")

    def carry_notes(self, md5s: Iterable[str], out: bool) -> None:
        """Push (out) or fetch the notes that the other side lacks; without them everything works."""
        fs = self.remote.fs
        folder = fs.join(fs.parent(fs.parent(self.remote.path)), "coder-clip")
        for md5 in md5s:
            there, here = fs.join(folder, f"{md5}.json"), self._note(md5)
            with suppress(Exception):
                if out and here.exists() and not fs.exists(there):
                    fs.makedirs(folder, exist_ok=True)
                    fs.put_file(str(here), there)
                elif not out and not here.exists() and fs.exists(there):
                    here.parent.mkdir(parents=True, exist_ok=True)
                    fs.get_file(there, str(here))

    def _note(self, md5: str) -> Path:
        return Path(self.cache.path).parent.parent / "coder-clip" / f"{md5}.json"


@contextmanager
def _reaching() -> Iterator[None]:
    """Turn what a file system raises where it is not reached into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"remote not reached: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error


def files_below(out: str) -> list[str]:
    """The file, or all files of the folder that DVC takes: not hidden ones (.dvcignore)."""
    if os.path.isfile(out):
        return [out]
    found = []
    for folder, folders, names in os.walk(out):
        folders[:] = [f for f in folders if not f.startswith(".")]
        found += [os.path.join(folder, name) for name in names if not name.startswith(".")]
    return sorted(found)


def check_host_keys() -> None:
    """Make DVC's SSH remotes refuse a server whose host key is not known. Nothing to do without dvc-ssh.

    Plain `dvc push` checks none: sshfs, which it uses, switches the check off, and DVC has no setting to tell it.
    """
    try:
        import dvc_ssh  # type: ignore[import-untyped]
    except ImportError:
        return
    prepare = dvc_ssh.SSHFileSystem._prepare_credentials
    if getattr(prepare, "checks", False):
        return

    def prepare_and_check(self: Any, **config: Any) -> Any:
        # (): what asyncssh does by itself, the files of OpenSSH; sshfs would put None, which is no check
        return {**prepare(self, **config), "known_hosts": ()}

    prepare_and_check.checks = True  # type: ignore[attr-defined]
    dvc_ssh.SSHFileSystem._prepare_credentials = prepare_and_check
