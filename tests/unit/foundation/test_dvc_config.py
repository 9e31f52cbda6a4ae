"""DVC's configuration in a commit: it moves objects, and runs and writes nothing else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from coder_clip.errors import UserError
from coder_clip.foundation.dvc_config import check_config

CORE = "[core]\n    remote = store\n    analytics = false\n"
STORE = "['remote \"store\"']\n"


@pytest.fixture(autouse=True)
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "clone"
    (folder / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(folder)
    subprocess.run(["git", "init", "--quiet"], check=True)
    return folder


def refused(text: str) -> str:
    Path(".dvc/config").write_text(text)
    with pytest.raises(UserError) as caught:
        check_config()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        CORE,
        f"{CORE}{STORE}    url = /shared/coder-clip\n",
        f"{CORE}{STORE}    url = ../../store\n",
        f"{CORE}{STORE}    url = ~/store\n",
        f"{CORE}{STORE}    url = ssh://host.example.org/data\n    port = 22\n",
        f"{CORE}{STORE}    url = s3://bucket/x\n    endpointurl = https://s3.example.org\n"
        "    region = eu\n",
        "[cache]\n    type = hardlink\n",
    ],
)
def test_what_a_group_shares_is_read(text: str) -> None:
    """docs/sharing.md advises these lines."""
    Path(".dvc/config").write_text(text)
    check_config()


@pytest.mark.parametrize(
    "key",
    [
        "profile",
        "configpath",
        "credentialpath",
        "bearer_token_command",
        "keyfile",
        "gdrive_user_credentials_file",
        "ssl_verify",
        "cert_path",
        "user",
        "password",
        "access_key_id",
        "worktree",
        "version_aware",
        "proxy_to",
        "shared",
        "a_key_of_tomorrow",
    ],
)
def test_a_key_that_is_not_known_is_named(key: str) -> None:
    """`status` and `pull` ran the program that such a key names (`credential_process` of S3)."""
    said = refused(f"{STORE}    url = s3://bucket/x\n    {key} = x\n")
    assert f"the key remote.store.{key} can run programs" in said
    assert "nothing was changed: whoever wants it puts it into .dvc/config.local" in said


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[cache]\n    dir = ../../src\n", "cache.dir"),
        ("[cache]\n    shared = group\n", "cache.shared"),
        ("[core]\n    site_cache_dir = ../src\n", "core.site_cache_dir"),
        ("[state]\n    dir = ../src\n", "state.dir"),
        ("[exp]\n    git_remote = x\n", "exp.git_remote"),
        ("['machine \"m\"']\n    setup_script = x.sh\n", "machine.m"),
        (f"{STORE}    url = s3://b\n    [[more]]\n        x = 1\n", "remote.store.more"),
        ("core = 3\n", "core"),
    ],
)
def test_a_section_that_redirects_is_named(text: str, key: str) -> None:
    """`cache.dir = ../../src` wrote objects among the sources."""
    assert f"the key {key}" in refused(text)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "is empty"),
        ("' '", "is empty"),
        (".", "is in this clone"),
        ("..", "is in this clone"),
        ("../data", "is in this clone"),
        ("../../store/../clone/src", "is in this clone"),
        ("../link", "is in this clone"),
        ("remote://store/x", "is not an address"),
        ("file:///etc", "is not an address"),
        ("local://x", "is not an address"),
    ],
)
def test_a_remote_is_elsewhere(url: str, why: str) -> None:
    """`push` said "in the remote" of a folder of the clone, and nobody else had the files."""
    Path("src").mkdir()
    Path("link").symlink_to("src")
    assert why in refused(f"{CORE}{STORE}    url = {url}\n")


def test_a_remote_without_an_address_is_named() -> None:
    assert "remote.store.url is empty" in refused(f"{STORE}    region = x\n")


@pytest.mark.parametrize(
    "text",
    [
        "[core",
        "[[core]]\n",
        "x",
        "[core]\nremote = 1\nremote = 2\n",
        "[core]\nremote = %(remote)s\n",
        "\udcff",
    ],
)
def test_a_damaged_file_is_one_line(text: str) -> None:
    Path(".dvc/config").write_bytes(os.fsencode(text))
    with pytest.raises(UserError, match=r"^\.dvc/config cannot be read: [^\n]+$"):
        check_config()


def test_a_folder_or_a_pipe_in_its_place_is_one_line() -> None:
    """A read of a pipe that nobody writes to waits for ever."""
    os.mkfifo(".dvc/config")
    with pytest.raises(UserError, match="not a file of settings"):
        check_config()
    Path(".dvc/config").unlink()
    Path(".dvc/config").mkdir()
    with pytest.raises(UserError, match="not a file of settings"):
        check_config()


@pytest.mark.parametrize("path", [".dvc/config.local", ".dvc/cache/x", ".dvc/cache", ".dvc/tmp"])
def test_settings_of_one_person_are_not_in_git(path: str) -> None:
    """What .dvc/config may not hold would come with the next file; a link would redirect writes."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).symlink_to("../src")
    check_config()
    subprocess.run(["git", "add", "--force", path], check=True)
    with pytest.raises(UserError, match=f"{path} is in Git, and belongs to one machine alone"):
        check_config()


def test_a_person_s_own_settings_may_hold_everything() -> None:
    Path(".dvc/config.local").write_text(f"{STORE}    profile = mine\n[cache]\n    dir = /big\n")
    check_config()


def test_the_configuration_here_is_accepted(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo)
    check_config()
