"""One file from a real server, and archives, some of which mean harm."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from archives import EVIL_TAR, below, tar_with, zip_with
from coder_clip.datasets.fetch import fetch
from coder_clip.datasets.unpack import unpack
from coder_clip.errors import UserError
from trees import put
from web import Web, serve

CONTENT = bytes(range(256)) * 5000
RIGHT = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as found:
        found.files["/file.bin"] = CONTENT
        yield found


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new/file.bin"


def part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def put_part(target: Path, content: bytes) -> None:
    """What an earlier run received of CONTENT."""
    put(part(target), content)
    etag = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    part(target).with_name(part(target).name + ".version").write_text(etag)


def get_it(web: Web, target: Path, checksum: str = RIGHT) -> None:
    fetch(f"{web.url}/file.bin", target, checksum, wait=0.001)


# ---- one file


def test_a_download_is_whole_and_leaves_nothing_else(web: Web, target: Path) -> None:
    get_it(web, target)
    assert target.read_bytes() == CONTENT
    assert os.listdir(target.parent) == ["file.bin"]
    get_it(web, target)
    assert len(web.asked) == 1, "what is there and right was fetched again"


def test_md5_sums_are_checked_too(web: Web, target: Path) -> None:
    get_it(web, target, f"md5:{hashlib.md5(CONTENT).hexdigest()}")
    assert target.read_bytes() == CONTENT


def test_a_broken_download_goes_on_where_it_was(web: Web, target: Path) -> None:
    """36 GB would begin again each time."""
    put(part(target), CONTENT[:1000])
    get_it(web, target)
    assert web.asked == ["bytes=1000-"]
    assert target.read_bytes() == CONTENT


def test_a_connection_that_ends_early_is_taken_up_again(web: Web, target: Path) -> None:
    web.cut = 500_000
    get_it(web, target)
    assert web.asked == ["", "bytes=500000-", "bytes=1000000-"]
    assert target.read_bytes() == CONTENT


def test_a_connection_that_gives_nothing_more_ends(web: Web, target: Path) -> None:
    web.cut = 0
    put(part(target), CONTENT[:1000])
    with pytest.raises(UserError, match=r"5 times in a row, after 1,000 bytes.*run again to go on"):
        get_it(web, target)
    assert not target.exists()
    assert part(target).read_bytes() == CONTENT[:1000]
    web.cut = None
    get_it(web, target)
    assert target.read_bytes() == CONTENT


def test_a_server_that_cannot_resume_sends_all(web: Web, target: Path) -> None:
    web.ranges = False
    put(part(target), CONTENT[:1000])
    get_it(web, target)
    assert target.read_bytes() == CONTENT


def test_a_server_that_cannot_resume_and_breaks_off_ends(web: Web, target: Path) -> None:
    """Here later than the last time, there earlier: that is no progress, and the download would
    never end.
    """
    web.ranges, web.cut = False, [1000, 2000]
    with pytest.raises(UserError, match="5 times in a row"):
        get_it(web, target)
    assert len(web.asked) < 10


def test_a_server_that_sends_another_part_than_asked_for(web: Web, target: Path) -> None:
    """Joined, the parts would be another file, and nothing would notice without a published
    checksum.
    """
    web.begin = 0
    put_part(target, CONTENT[:1000])
    fetch(f"{web.url}/file.bin", target, None, wait=0.001)
    assert web.asked == ["bytes=1000-", ""]
    assert target.read_bytes() == CONTENT


def test_a_server_that_sends_little_at_a_time(web: Web, target: Path) -> None:
    """The beginning would count as the whole file."""
    web.most = 700_000
    put_part(target, CONTENT[:1000])
    fetch(f"{web.url}/file.bin", target, None, wait=0.001)
    assert web.asked == ["bytes=1000-", "bytes=701000-"]
    assert target.read_bytes() == CONTENT


def test_a_server_that_trickles_gives_way_to_the_next(
    web: Web, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte a second held a run for ever, with a mirror that nobody asked."""
    monkeypatch.setattr("coder_clip.datasets.fetch.PATIENCE", 0.2)
    web.trickle = 0.02
    with serve() as mirror:
        mirror.files = web.files
        fetch([f"{web.url}/file.bin", f"{mirror.url}/file.bin"], target, RIGHT)
        assert mirror.asked, "the mirror was not asked"
        assert mirror.asked[0].startswith("bytes="), "what came was thrown away"
    assert target.read_bytes() == CONTENT


def test_a_server_that_does_not_know_the_size(web: Web, target: Path) -> None:
    """`Content-Range: bytes 1000-1279999/*` is legal."""
    web.knows_size = False
    web.cut = [len(CONTENT), 2000]
    put(part(target), CONTENT[:1000])
    get_it(web, target)
    assert len(web.asked) > 1, "an answer that ended early was taken for the rest"
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("obeys", [True, False])
def test_a_file_that_changes_between_two_answers_is_fetched_again(
    web: Web, target: Path, obeys: bool
) -> None:
    """Joined, the two versions would be neither, and nothing would notice without a published
    checksum.
    """
    web.obeys, web.cut = obeys, [len(CONTENT), 500_000]
    web.changed = {"/file.bin": CONTENT[::-1]}
    fetch(f"{web.url}/file.bin", target, None, wait=0.001)
    assert target.read_bytes() == CONTENT[::-1]
    assert web.asked[:2] == ["", "bytes=500000-"]
    assert os.listdir(target.parent) == ["file.bin"]


def test_a_beginning_of_an_unknown_version_is_used_only_with_a_checksum(
    web: Web, target: Path
) -> None:
    put(part(target), b"x" * 1000)
    fetch(f"{web.url}/file.bin", target, None, wait=0.001)
    assert web.asked == [""]
    assert target.read_bytes() == CONTENT


def test_a_file_in_an_encoding_that_nobody_asked_for_is_refused(web: Web, target: Path) -> None:
    """Compressed bytes would be kept as the file."""
    web.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(UserError, match="sent in the encoding 'gzip', which was not asked for"):
        fetch(f"{web.url}/file.bin", target, None, wait=0.001)
    assert not list(target.parent.iterdir())
    get_it(
        web, target
    )  # some servers name the archive's own compression so, and the checksum is right
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_already_whole(web: Web, target: Path) -> None:
    put(part(target), CONTENT)
    get_it(web, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("beginning", [b"x" * 1000, b"x" * (len(CONTENT) + 5), b"x" * len(CONTENT)])
def test_another_files_beginning_is_thrown_away(web: Web, target: Path, beginning: bytes) -> None:
    """An older version of the archive, broken off: joined, the two would be neither."""
    put(part(target), beginning)
    get_it(web, target)
    assert target.read_bytes() == CONTENT


def test_the_name_of_a_git_blob_is_a_checksum(web: Web, target: Path) -> None:
    """Public repositories list no SHA-256 of their files, but Git names each by one: another file
    has another name.
    """
    made = subprocess.run(
        ["git", "hash-object", "--stdin"], input=CONTENT, capture_output=True, check=True
    )
    get_it(web, target, f"git:{made.stdout.decode().strip()}")
    assert target.read_bytes() == CONTENT
    target.unlink()
    with pytest.raises(UserError, match=r"checksum git:[0-9a-f]{40}, expected git:0{40}"):
        get_it(web, target, f"git:{'0' * 40}")
    assert list(target.parent.iterdir()) == []


def test_a_wrong_checksum_keeps_nothing(web: Web, target: Path) -> None:
    web.files["/file.bin"] = CONTENT[:-1] + b"!"
    with pytest.raises(UserError, match=f"expected {RIGHT}.*Nothing was kept"):
        get_it(web, target)
    assert os.listdir(target.parent) == []


def test_what_lies_there_is_not_overwritten(web: Web, target: Path) -> None:
    put(target, b"mine")
    with pytest.raises(UserError, match=r"with another checksum.*remove it"):
        get_it(web, target)
    assert target.read_bytes() == b"mine"


def test_a_busy_server_is_asked_again(web: Web, target: Path) -> None:
    web.failing = [503, 429, 500]
    get_it(web, target)
    assert target.read_bytes() == CONTENT


def test_a_busy_server_says_when_it_is_asked_again(
    web: Web, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five tries within its minute would all be refused. Nobody waits for days, either."""
    slept: list[float] = []
    monkeypatch.setattr("coder_clip.datasets.fetch.time.sleep", slept.append)
    web.failing, web.headers["Retry-After"] = [429], "60"
    get_it(web, target)
    target.unlink()
    web.failing, web.headers["Retry-After"] = [503] * 5, "86400"
    with pytest.raises(UserError, match=r"HTTP 503 .*, 5 times in a row; try again later"):
        get_it(web, target)
    assert slept == [60, *[300] * 4]
    assert os.listdir(target.parent) == []


def test_a_file_that_is_gone_is_said_at_once(web: Web, target: Path) -> None:
    with pytest.raises(UserError, match=r"HTTP 404 .*fetch it by hand .*put it at .*gone\.bin"):
        fetch(f"{web.url}/gone.bin", target.with_name("gone.bin"), RIGHT)
    assert len(web.asked) == 1


def test_without_a_network(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a compute node nobody waits for five tries."""
    for url in ("http://127.0.0.1:9/file.bin", "http://no-such-host.invalid/file.bin"):
        with pytest.raises(
            UserError, match=r"cannot be reached \(.*\); fetch it by hand"
        ) as caught:
            fetch(url, target, RIGHT, wait=60)
        assert "\n" not in str(caught.value)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(UserError, match=r"cannot be reached \(.*SOCKS.*\); fetch it by hand"):
        fetch("http://no-such-host.invalid/file.bin", target, RIGHT)
    assert os.listdir(target.parent) == []


def test_certificates_that_are_not_there(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/none.pem")
    with pytest.raises(UserError, match=r"certificates cannot be read \(.*\); see SSL_CERT_FILE"):
        fetch("https://127.0.0.1:9/file.bin", target, RIGHT)
    assert os.listdir(target.parent) == []


def test_a_folder_that_cannot_be_written(web: Web, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        get_it(web, tmp_path / "file/below.bin")


def test_another_address_is_tried_where_the_first_has_not_the_file(web: Web, target: Path) -> None:
    web.files["/other.bin"] = b"another file"
    urls = [
        "http://127.0.0.1:9/file.bin",
        f"{web.url}/gone.bin",
        f"{web.url}/other.bin",
        f"{web.url}/file.bin",
    ]
    fetch(urls, target, RIGHT, wait=0.001)
    assert target.read_bytes() == CONTENT
    target.unlink()
    with pytest.raises(
        UserError, match=r"none of 3 addresses gave file\.bin: .*reached.*404.*checksum"
    ):
        fetch(urls[:3], target, RIGHT, wait=0.001)
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "Text/HTML", "application/zip"])
def test_a_web_page_is_not_the_file(web: Web, target: Path, kind: str) -> None:
    """A login, or Google Drive's daily limit; without a published checksum nothing else would
    notice.
    """
    web.headers["Content-Type"] = kind
    web.files["/file.bin"] = (
        b"\n<!DOCTYPE html><html>Please log in</html>" if "zip" in kind else CONTENT
    )
    with pytest.raises(UserError, match="answers with a web page"):
        fetch(f"{web.url}/file.bin", target, None)
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
        (b"\xef\xbb\xbf\n<Error><Code>SlowDown</Code></Error>", "an XML document"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "a Git LFS pointer",
        ),
    ],
)
def test_an_answer_of_a_store_is_not_the_file(
    web: Web, target: Path, content: bytes, what: str
) -> None:
    """Without a published checksum the error of a store of files, or a pointer to a file, counted
    as a download.
    """
    web.files["/file.bin"] = content
    with pytest.raises(UserError, match=f"answers with {what} in the place of the file"):
        fetch(f"{web.url}/file.bin", target, None)
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize(
    "answer", [b'{"error": "quota"}', b"Too many requests\n", b"\xef\xbb\xbf<html>"]
)
@pytest.mark.parametrize("name", ["images.zip", "videos.rar", "all.tar.gz"])
def test_what_is_not_an_archive_is_not_kept_as_one(
    web: Web, tmp_path: Path, answer: bytes, name: str
) -> None:
    """A data set without a checksum stayed broken: the next run found its archive complete."""
    web.files[f"/{name}"] = answer
    with pytest.raises(UserError, match=r"open it in a browser"):
        fetch(f"{web.url}/{name}", tmp_path / name, None, wait=0.001)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("checksum", [None, RIGHT])
def test_an_encrypted_address_that_leads_to_a_plain_one(
    target: Path, monkeypatch: pytest.MonkeyPatch, checksum: str | None
) -> None:
    """Whoever is between can send any file; only a checksum shows it."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.scheme == "https":
            return httpx2.Response(302, headers={"Location": "http://mirror.test/file.bin"})
        return httpx2.Response(200, stream=httpx2.ByteStream(CONTENT))

    client = httpx2.Client(transport=httpx2.MockTransport(answer), follow_redirects=True)
    monkeypatch.setattr("coder_clip.datasets.fetch._client", lambda: client)
    if checksum:
        fetch("https://files.test/file.bin", target, checksum)
        assert target.read_bytes() == CONTENT
        return
    with pytest.raises(UserError, match=r"leads to http://mirror\.test/file\.bin, which"):
        fetch("https://files.test/file.bin", target, None)
    assert not target.exists()


def test_nothing_is_not_the_file(web: Web, target: Path) -> None:
    web.files["/file.bin"] = b""
    with pytest.raises(UserError, match="answers with an empty file"):
        fetch(f"{web.url}/file.bin", target, None)
    assert os.listdir(target.parent) == []


# ---- archives


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_archives_of_all_kinds(tmp_path: Path, mode: str) -> None:
    folder = {"type": tarfile.DIRTYPE, "mode": 0o755}
    made = tar_with(
        tmp_path / "a.tar.gz", ("./d", folder), ("./d/é.jpg", b"1"), ("d/e/x.jpg", b"2"), mode=mode
    )
    unpack(made, tmp_path / "out")
    assert below(tmp_path / "out") == {"d/é.jpg": b"1", "d/e/x.jpg": b"2"}


def test_zip_archives(tmp_path: Path) -> None:
    """A zip archive, also one made on Windows, would not be unpacked whole."""
    made = zip_with(
        tmp_path / "a.zip",
        ("d/", b"", stat.S_IFDIR | 0o755),
        ("d/x.jpg", b"1", stat.S_IFREG | 0o644),
        ("d/made-on-windows.jpg", b"2", 0),
    )
    unpack(made, tmp_path / "out")
    assert below(tmp_path / "out") == {"d/x.jpg": b"1", "d/made-on-windows.jpg": b"2"}


def test_what_is_there_stays(tmp_path: Path) -> None:
    put(tmp_path / "out/d/mine.jpg", b"mine")
    unpack(tar_with(tmp_path / "a.tar", ("d/x.jpg", b"1"), mode="w"), tmp_path / "out")
    assert below(tmp_path / "out") == {"d/mine.jpg": b"mine", "d/x.jpg": b"1"}


def test_folders_that_are_there_keep_their_permissions(tmp_path: Path) -> None:
    """A group's folder could be written by its owner only from then on."""
    for folder in ("out", "out/d"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder).chmod(0o2775)
    unpack(tar_with(tmp_path / "a.tar", ("d/x.jpg", b"1"), mode="w"), tmp_path / "out")
    assert {stat.S_IMODE((tmp_path / folder).stat().st_mode) for folder in ("out", "out/d")} == {
        0o2775
    }


def test_unpacking_after_it_was_killed(tmp_path: Path) -> None:
    """Nothing that a killed call has left is taken over, though its size is right; nothing stays
    beside the result.
    """
    noise = os.urandom(300_000)
    made = tar_with(tmp_path / "a.tar", *((f"d/{i}.jpg", noise) for i in range(40)), mode="w")
    code = (
        "import os, shutil, signal, sys; from pathlib import Path; from coder_clip.datasets "
        "import unpack as u\n"
        "real, calls = shutil.copyfileobj, []\n"
        "def copy(source, out, size):\n"
        "    calls.append(0)\n"
        "    if len(calls) == 20:\n"
        "        out.write(source.read(1000)); out.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(source, out, size)\n"
        "u.shutil.copyfileobj = copy; u.unpack(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    killed = subprocess.run([sys.executable, "-c", code, made, tmp_path / "out"], check=False)
    assert killed.returncode == -signal.SIGKILL
    (hidden,) = (tmp_path / "out").iterdir()
    assert len(list((hidden / "d").iterdir())) == 20
    (hidden / "d/0.jpg").write_bytes(
        bytes(len(noise))
    )  # as after a power cut: the size is there, the bytes are not
    (hidden / "d/other.jpg").write_bytes(noise)  # of an older archive
    unpack(made, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["d"]
    assert len(list((tmp_path / "out/d").iterdir())) == 40
    assert all(p.read_bytes() == noise for p in (tmp_path / "out/d").iterdir())


@pytest.mark.parametrize("kind", EVIL_TAR)
def test_a_tar_that_means_harm_is_refused_whole(tmp_path: Path, kind: str) -> None:
    made = tar_with(tmp_path / "a.tar", ("good.jpg", b"1"), EVIL_TAR[kind], mode="w")
    with pytest.raises(UserError, match=r"refused: .*nothing was unpacked"):
        unpack(made, tmp_path / "deep/out")
    assert set(below(tmp_path)) == {"a.tar"}
    assert not (tmp_path / "deep/out").exists()
    assert not Path("/tmp/evil-coder-clip").exists()


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("../evil", stat.S_IFREG),
        ("/tmp/evil-coder-clip", stat.S_IFREG),
        ("d/link", stat.S_IFLNK | 0o777),
        ("d/pipe", stat.S_IFIFO),
        ("d/dev", stat.S_IFCHR),
    ],
)
def test_a_zip_that_means_harm_is_refused_whole(tmp_path: Path, name: str, mode: int) -> None:
    made = zip_with(tmp_path / "a.zip", ("good.jpg", b"1", 0), (name, b"/etc", mode))
    with pytest.raises(UserError, match=r"refused: .*nothing was unpacked"):
        unpack(made, tmp_path / "out")
    assert set(below(tmp_path)) == {"a.zip"}
    assert not Path("/tmp/evil-coder-clip").exists()


def test_a_link_in_two_steps_leads_nowhere(tmp_path: Path) -> None:
    """A link to a folder outside, then a file "through" it."""
    (tmp_path / "outside").mkdir()
    made = tar_with(
        tmp_path / "a.tar",
        ("d", {"type": tarfile.SYMTYPE, "linkname": str(tmp_path / "outside")}),
        ("d/evil", b"x"),
        mode="w",
    )
    with pytest.raises(UserError, match="'d' is a link or a device"):
        unpack(made, tmp_path / "out")
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("kind", ["tar", "zip", "text"])
def test_a_damaged_archive_leaves_the_folder_as_it_was(tmp_path: Path, kind: str) -> None:
    noise = os.urandom(50_000)
    if kind == "tar":
        made = tar_with(tmp_path / "a.tgz", ("x.jpg", noise), ("y.jpg", noise))
        made.write_bytes(made.read_bytes()[:60_000])
    elif kind == "zip":
        made = zip_with(tmp_path / "a.zip", ("x.jpg", noise, 0))
        broken = bytearray(made.read_bytes())
        broken[1000] ^= 255
        made.write_bytes(broken)
    else:
        made = tmp_path / "a.zip"
        made.write_text("<html>Please log in</html>")
    put(tmp_path / "out/mine.jpg", b"mine")
    with pytest.raises(UserError, match="damaged or not an archive"):
        unpack(made, tmp_path / "out")
    assert below(tmp_path / "out") == {"mine.jpg": b"mine"}


def test_a_zip_that_holds_more_than_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten megabytes of zeros are ten kilobytes in a zip."""
    made = tmp_path / "a.zip"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("d/x.jpg", bytes(10_000_000))
    assert made.stat().st_size < 20_000
    usage = shutil.disk_usage(tmp_path)._replace(free=9_000_000)
    monkeypatch.setattr("coder_clip.datasets.unpack.shutil.disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="holds 10,000,000 bytes, and 9,000,000 are free"):
        unpack(made, tmp_path / "out")
    assert not (tmp_path / "out").exists()
