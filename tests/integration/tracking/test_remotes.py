"""The same walk with each remote: push, a colleague's clone, pull, nothing to do, one change, the right jobs."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from project import Project
from servers import SSHD, Ssh, s3, sshd

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
    """What stands in Git: where the remote is, and nothing secret."""
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
    assert clone.stale() == ["scores"]
    return clone


def holds(folder: Path, word: str) -> list[str]:
    return [str(p) for p in folder.rglob("*") if p.is_file() and word.encode() in p.read_bytes()]


def test_directory(toy: Project) -> None:
    shutil.rmtree(toy.folder.parent / "store")
    walk(toy, lambda p: None)


def test_ssh(toy: Project, ssh_server: Ssh) -> None:
    url = f"ssh://{ssh_server.user}@127.0.0.1:{ssh_server.port}{toy.folder.parent}/over-ssh"
    set_remote(toy, url)
    clone = walk(toy, lambda p: trust(p, ssh_server))
    assert (toy.folder.parent / "over-ssh/files/md5").is_dir()
    for project in (toy, clone):  # which key is mine is nobody else's business
        assert str(ssh_server.key) not in project.git("log", "--all", "--patch")


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


def test_s3(toy: Project, s3_server: str, capfd: pytest.CaptureFixture[str]) -> None:
    set_remote(toy, "s3://results/toy", endpointurl=s3_server, region="us-east-1")

    def prepare(project: Project) -> None:
        """Credentials lie in a file outside the repository."""
        secrets = Path(project.environment["HOME"]) / "credentials"
        secrets.write_text(f"[default]\naws_access_key_id = id\naws_secret_access_key = {SECRET}\n")
        project.environment["AWS_SHARED_CREDENTIALS_FILE"] = str(secrets)

    clone = walk(toy, prepare)
    clone.snakemake()
    for project in (toy, clone):
        assert holds(project.folder, SECRET) == []


def test_an_interrupted_push_resumes(toy: Project, ssh_server: Ssh) -> None:
    url = f"ssh://{ssh_server.user}@127.0.0.1:{ssh_server.port}{toy.folder.parent}/over-ssh"
    set_remote(toy, url)
    trust(toy, ssh_server)
    for delay in (1.2, 1.6, 2.0):
        push = toy.start("coder-clip", "push")
        time.sleep(delay)
        os.killpg(push.pid, signal.SIGKILL)
        push.wait()
    toy.run("coder-clip", "push")
    clone = toy.clone("clone")
    trust(clone, ssh_server)
    for delay in (1.2, 1.6, 2.0):
        pull = clone.start("coder-clip", "pull")
        time.sleep(delay)
        os.killpg(pull.pid, signal.SIGKILL)
        pull.wait()
    clone.run("coder-clip", "pull")
    assert (clone.planned(), clone.stale()) == ([], [])


def test_a_tampered_remote_object_is_noticed(toy: Project) -> None:
    objects = [p for p in (toy.folder.parent / "store/files/md5").rglob("*") if p.is_file()]
    large = max(objects, key=lambda p: p.stat().st_size)
    large.chmod(0o644)
    large.write_bytes(b"tampered" + large.read_bytes()[8:])
    clone = toy.clone("clone")
    done = clone.run("coder-clip", "pull", ok=False)
    assert done.returncode != 0 or "will be made again" in done.stdout
    planned = clone.planned()
    assert "feature" in planned
    clone.snakemake()
    assert (clone.planned(), clone.stale()) == ([], [])
    good = (toy / "results/features/m/a.bin").read_bytes(), (toy / "results/features/m/b.bin").read_bytes()
    shutil.rmtree(clone / "results/features")
    clone.run("dvc", "checkout", "--quiet")  # the cache got rid of the tampered bytes, too
    assert (
        (clone / "results/features/m/a.bin").read_bytes(),
        (clone / "results/features/m/b.bin").read_bytes(),
    ) == good


def test_a_tampered_remote_object_stops_a_verifying_pull(toy: Project) -> None:
    toy.run("dvc", "remote", "modify", "store", "verify", "true")
    toy.commit("verify")
    objects = [p for p in (toy.folder.parent / "store/files/md5").rglob("*") if p.is_file()]
    large = max(objects, key=lambda p: p.stat().st_size)
    large.chmod(0o644)
    large.write_bytes(b"tampered" + large.read_bytes()[8:])
    clone = toy.clone("clone")
    done = clone.run("coder-clip", "pull", ok=False)
    assert done.returncode != 0
    assert "results/features" in done.stdout
    assert not (clone / "results/features").exists()


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
    toy.run("dvc", "remote", "remove", "store")
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    assert "recorded in DVC: scores, report;" in toy.snakemake()
    assert (toy.planned(), toy.stale()) == ([], [])
    said = toy.run("coder-clip", "status").stdout
    assert "no remote" in said
