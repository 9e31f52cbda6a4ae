"""The same walk with each remote: push, a colleague's clone, pull, nothing to do, one change, the
right jobs.

And for each remote: a push and a pull that are killed in the middle go on, and a tampered object is
noticed."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from project import Project
from servers import SSHD, Ssh, s3, sshd

pytestmark = pytest.mark.rest

SECRET = "9f3c-not-to-be-found-anywhere"


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ssh]:
    if not SSHD.exists():
        pytest.skip("openssh-server is not installed")
    with sshd(tmp_path_factory.mktemp("sshd") / "server") as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3(tmp_path_factory.mktemp("s3") / "server") as endpoint:
        yield endpoint


def set_remote(project: Project, url: str, **options: str) -> None:
    """The address of the remote in Git, without secrets."""
    project.run("dvc", "remote", "modify", "store", "url", url)
    for key, value in options.items():
        project.run("dvc", "remote", "modify", "store", key, value)
    project.commit("where the remote is")


def trust(project: Project, server: Ssh, host_key: str | None = None) -> None:
    """What a person does once: whose key the server has, and which key is mine."""
    folder = Path(project.environment["HOME"]) / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "known_hosts").write_text(server.host_key if host_key is None else host_key)
    project.run("dvc", "remote", "modify", "--local", "store", "keyfile", str(server.key))


def walk(toy: Project, prepare: Callable[[Project], None]) -> Project:
    prepare(toy)
    toy.run("coder-clip", "push")
    clone = toy.clone("clone")
    prepare(clone)
    clone.run("coder-clip", "pull")
    assert (clone.planned(), clone.stale()) == ([], [])
    clone.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    assert clone.planned() == ["page", "score", "score"]
    assert clone.stale() == ["features", "report", "scores", "texts"]
    return clone


def holds(folder: Path, word: str) -> list[str]:
    return [str(p) for p in folder.rglob("*") if p.is_file() and word.encode() in p.read_bytes()]


class Remote:
    """A remote: its configuration, and the objects in it."""

    def __init__(self, kind: str, toy: Project, server: Ssh | str | None) -> None:
        self.kind, self.server = kind, server
        self.folder = toy.folder.parent / "remote"
        if kind == "directory":
            set_remote(toy, "../remote")
        elif isinstance(server, Ssh):
            set_remote(toy, f"ssh://{server.user}@127.0.0.1:{server.port}{self.folder}")
        else:
            self.prefix = toy.folder.parent.name  # a bucket for all tests, a folder each
            set_remote(
                toy, f"s3://results/{self.prefix}", endpointurl=str(server), region="us-east-1"
            )

    def prepare(self, project: Project) -> None:
        """What a person sets up once, outside Git: trust and credentials."""
        if isinstance(self.server, Ssh):
            trust(project, self.server)
        elif self.kind == "s3":
            secrets = Path(project.environment["HOME"]) / "credentials"
            secrets.write_text(
                f"[default]\naws_access_key_id = id\naws_secret_access_key = {SECRET}\n"
            )
            project.environment["AWS_SHARED_CREDENTIALS_FILE"] = str(secrets)

    def objects(self) -> dict[str, int]:
        """Size of every object that is whole there, by its hash."""
        if self.kind == "s3":
            listed = bucket(str(self.server)).objects.filter(Prefix=self.prefix)
            return {
                "".join(o.key.split("/")[-2:]): o.size for o in listed if "/files/md5/" in o.key
            }
        return in_folder(self.folder)

    def read(self, md5: str) -> bytes:
        if self.kind == "s3":
            body = bucket(str(self.server)).Object(self._key(md5)).get()["Body"].read()
            assert isinstance(body, bytes)
            return body
        return (self.folder / self._key(md5)).read_bytes()

    def write(self, md5: str, data: bytes) -> None:
        if self.kind == "s3":
            bucket(str(self.server)).put_object(Key=self._key(md5), Body=data)
        else:
            (self.folder / self._key(md5)).chmod(0o644)
            (self.folder / self._key(md5)).write_bytes(data)

    def _key(self, md5: str) -> str:
        before = f"{self.prefix}/" if self.kind == "s3" else ""
        return f"{before}files/md5/{md5[:2]}/{md5[2:]}"

    def delete(self) -> None:
        """The largest object is gone."""
        objects = self.objects()
        largest = max(objects, key=lambda md5: objects[md5])
        if self.kind == "s3":
            bucket(str(self.server)).Object(self._key(largest)).delete()
        else:
            (self.folder / self._key(largest)).unlink()

    def tamper(self) -> None:
        """Other bytes of the same length in the largest object."""
        objects = self.objects()
        largest = max(objects, key=lambda md5: objects[md5])
        self.write(largest, b"tampered" + self.read(largest)[8:])


def bucket(endpoint: str) -> Any:
    import boto3

    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    return boto3.resource("s3", endpoint_url=endpoint, **keys).Bucket("results")


def in_folder(store: Path) -> dict[str, int]:
    """Objects of a DVC cache or remote on disk. One that is being written has another name yet, or
    is empty and goes again where a reflink was tried in vain."""
    found = {}
    for path in store.glob("files/md5/??/*"):
        with contextlib.suppress(FileNotFoundError):
            if re.fullmatch(r"[0-9a-f]{30}(\.dir)?", path.name) and (size := path.stat().st_size):
                found[path.parent.name + path.name] = size
    return found


KINDS = ("directory", "ssh", "s3")


@pytest.fixture(params=["directory", "ssh", "s3"])
def remote(request: pytest.FixtureRequest, toy: Project) -> Remote:
    kind = request.param
    return Remote(
        kind, toy, None if kind == "directory" else request.getfixturevalue(f"{kind}_server")
    )


def test_push_clone_pull(toy: Project, remote: Remote) -> None:
    """A colleague would not get the results over this kind of remote, or get a key with them."""
    clone = walk(toy, remote.prepare)
    assert len(remote.objects()) > 8
    for project in (toy, clone):  # which key is mine is nobody else's business
        if isinstance(remote.server, Ssh):
            assert str(remote.server.key) not in project.git("log", "--all", "--patch")
    if remote.kind == "s3":
        clone.snakemake()
        for project in (toy, clone):
            assert holds(project.folder, SECRET) == []


def test_ssh_host_key_is_checked(toy: Project, ssh_server: Ssh) -> None:
    url = f"ssh://{ssh_server.user}@127.0.0.1:{ssh_server.port}{toy.folder.parent}/over-ssh"
    set_remote(toy, url)
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMI1OnUAyJpjVLGLwzYUDWfu8EHbUYZVf8ncdhMQEO3x"
    for host_key in ("", f"[127.0.0.1]:{ssh_server.port} {other}\n"):
        trust(toy, ssh_server, host_key)
        done = toy.run("coder-clip", "push", ok=False)
        assert done.returncode != 0
        assert "Host key" in done.stdout
        assert not (toy.folder.parent / "over-ssh").exists()
    trust(toy, ssh_server)
    toy.run("coder-clip", "push")


@pytest.fixture(scope="session")
def finished_large(
    finished: Path, tmp_path_factory: pytest.TempPathFactory, programs: Path
) -> Path:
    """The toy with six files of 20 MB, so that a push or pull has a middle. Not to be changed."""
    folder = tmp_path_factory.mktemp("large")
    subprocess.run(["cp", "-a", f"{finished}/.", str(folder)], check=True)
    toy = Project(folder / "work", programs)
    for name in "cdef":
        (toy / f"data/{name}.txt").write_text(f"{name} one two three")
    toy.edit("config/reproduce.yaml", "sets: [a, b]", "sets: [a, b, c, d, e, f]")
    toy.edit("src/toy/feature.py", "[:1_500_000]", "* 8")
    toy.snakemake()
    toy.commit("large")
    return folder


@pytest.fixture
def large(finished_large: Path, tmp_path: Path, programs: Path) -> Project:
    subprocess.run(["cp", "-a", f"{finished_large}/.", str(tmp_path)], check=True)
    return Project(tmp_path / "work", programs)


def kill_in_the_middle(
    project: Project, command: str, arrived: Callable[[], Collection[str]]
) -> int:
    """kill -9 of a push or pull and of the dvc it started, once some objects have arrived; how many
    have.
    """
    before = len(arrived())
    process = project.start("coder-clip", command, "--jobs", "1")
    while len(arrived()) == before:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return len(arrived())


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_push_and_pull_go_on(
    kind: str, large: Project, request: pytest.FixtureRequest
) -> None:
    server = None if kind == "directory" else request.getfixturevalue(f"{kind}_server")
    remote = Remote(kind, large, server)
    remote.prepare(large)
    cache = large / ".dvc/cache"
    for _ in range(2):
        assert 0 < kill_in_the_middle(large, "push", remote.objects) < len(in_folder(cache))
    large.run("coder-clip", "push")
    for md5, size in remote.objects().items():
        assert size == in_folder(cache)[md5]  # nothing half written counts as pushed
    clone = large.clone("clone")
    remote.prepare(clone)
    for _ in range(2):
        pulled = kill_in_the_middle(clone, "pull", lambda: in_folder(clone / ".dvc/cache"))
        assert 0 < pulled < len(remote.objects())
    clone.run("coder-clip", "pull")
    assert (clone.planned(), clone.stale()) == ([], [])
    for name in "abcdef":
        path = f"results/features/m/{name}.bin"
        assert (clone / path).read_bytes() == (large / path).read_bytes()


def test_a_corrupt_object_of_the_remote_is_named_and_replaced(toy: Project, remote: Remote) -> None:
    remote.prepare(toy)
    toy.run("coder-clip", "push")
    remote.tamper()
    clone = toy.clone("clone")
    remote.prepare(clone)
    done = clone.run("coder-clip", "pull", ok=False)
    assert done.returncode == 1
    assert re.search(
        r"phase features is not here: results/features/m/[ab]\.bin corrupt in the remote",
        done.stdout,
    )
    assert "here now: texts, scores, report" in done.stdout  # it costs its phase only
    assert not (clone / "results/features").exists()
    # over SSH sizes are compared; with --verify the server computes hashes
    said = toy.run("coder-clip", "push", *(["--verify"] if remote.kind == "ssh" else [])).stdout
    assert "replaced in the remote, where it was corrupt: results/features/m/" in said
    clone.run("coder-clip", "pull")
    assert (clone.planned(), clone.stale()) == ([], [])
    assert clone.bytes() == toy.bytes()


def test_a_large_object_of_s3_is_verified(large: Project, s3_server: str) -> None:
    """Uploaded in parts: its ETag is not the md5 of the whole, so --verify reads it back."""
    remote = Remote("s3", large, s3_server)
    remote.prepare(large)
    large.run("coder-clip", "push")
    objects = remote.objects()
    largest = max(objects, key=lambda md5: objects[md5])
    whole = remote.read(largest)
    for data, said in (
        (whole, "(0 files sent,"),
        (b"tampered" + whole[8:], "replaced in the remote, where it was"),
    ):
        bucket(s3_server).upload_fileobj(io.BytesIO(data), remote._key(largest))
        assert "-" in bucket(s3_server).Object(remote._key(largest)).e_tag
        assert said in large.run("coder-clip", "push", "--verify").stdout
        assert remote.read(largest) == whole


def test_a_deleted_object_of_the_remote_is_seen_and_sent_again(
    toy: Project, remote: Remote
) -> None:
    remote.prepare(toy)
    toy.run("coder-clip", "push")
    remote.delete()
    shown = toy.run("coder-clip", "status").stdout
    assert [line.split()[4] for line in shown.splitlines()[1:5]] == ["yes", "no", "yes", "yes"]
    assert "(1 files sent, 23 verified)" in toy.run("coder-clip", "push").stdout
    assert "no" not in toy.run("coder-clip", "status").stdout.split()


def test_a_corrupt_object_of_the_cache_is_never_sent(toy: Project) -> None:
    """It is repaired from the workspace; if that has other bytes it is named, and the rest is sent."""
    shutil.rmtree(toy.folder.parent / "store")
    cache = in_folder(toy / ".dvc/cache")
    largest = max(cache, key=lambda md5: cache[md5])
    path = toy / f".dvc/cache/files/md5/{largest[:2]}/{largest[2:]}"
    good = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(b"corrupt" + good[7:])
    toy.run("coder-clip", "push")
    assert path.read_bytes() == good
    shutil.rmtree(toy.folder.parent / "store")
    path.chmod(0o644)
    path.write_bytes(b"corrupt" + good[7:])
    shutil.rmtree(toy / "results/features")
    done = toy.run("coder-clip", "push", ok=False)
    assert done.returncode == 1
    assert "phase features is not pushed: results/features/m/" in done.stdout
    assert "in the remote: texts, scores, report" in done.stdout
    assert largest not in in_folder(toy.folder.parent / "store")


def test_results_that_are_recorded_nowhere_survive_a_pull(toy: Project) -> None:
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    toy.snakemake(DVC_STAGE="none")
    mine = (toy / "results/scores/m/a.json").read_bytes()
    (toy / "results/scores/notes.txt").write_text("mine")
    assert "recorded nowhere, moved to results-set-aside/" in toy.run("coder-clip", "pull").stdout
    assert (toy / "results-set-aside/results/scores/m/a.json").read_bytes() == mine
    assert (toy / "results-set-aside/results/scores/notes.txt").read_text() == "mine"
    assert toy.planned() == ["page", "score", "score"]


def test_a_remote_that_is_gone(toy: Project) -> None:
    """The run succeeds, status says what it could not ask, push says what to do."""
    shutil.rmtree(toy.folder.parent / "store")
    (toy.folder.parent / "store").write_text("in the way")
    (toy / "results/report.html").unlink()
    toy.snakemake()
    assert toy.planned() == []
    assert "remote not reached" in toy.run("coder-clip", "status").stdout
    assert toy.run("coder-clip", "push", ok=False).returncode != 0


def test_no_remote(toy: Project) -> None:
    """Without a remote, a run would not be recorded."""
    toy.run("dvc", "remote", "remove", "store")
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    assert "recorded in DVC: scores, report;" in toy.snakemake()
    assert (toy.planned(), toy.stale()) == ([], [])
    said = toy.run("coder-clip", "status").stdout
    assert "no remote" in said
