"""Published features of true CLIP from a local server, as the public repositories have them.

    python tests/support/true_clip.py PORT

serves them, for `make true-clip` in a copy whose addresses are changed.
"""

from __future__ import annotations

import http.server
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

REMOTE = re.compile(
    r"https://(?:raw\.githubusercontent\.com|github\.com)/([^/\s]+)/([^/\s]+)/(?:raw/)?"
)


def lists_in(folder: Path) -> Iterable[Path]:
    """The files of a working copy that hold addresses of features."""
    source = folder / "src/coder_clip"
    return [
        *source.glob("datasets/entries/features/*.yaml"),
        *source.glob("encoders/tables/*.yaml"),
    ]


def change_addresses(folder: Path, url: str) -> None:
    """Let the features of a working copy come from this server."""
    for file in lists_in(folder):
        text = file.read_text(encoding="utf-8")
        file.write_text(REMOTE.sub(rf"{url}/\1/\2/", text), encoding="utf-8")


def content(shared: Path, path: str) -> bytes | None:
    """The file behind an address, /OWNER/REPOSITORY/COMMIT/PATH; None if it is not there."""
    file = local(shared, path)
    return file.read_bytes() if file.is_file() else None


def local(shared: Path, path: str) -> Path:
    """Where the shared folder has the file behind an address."""
    owner, repository, commit, *rest = unquote(path).strip("/").split("/")
    file = shared / f"data/true_clip/{owner}+{repository}@{commit}" / "/".join(rest)
    if rest[:1] == ["splits"]:
        file = shared / "data/splits" / rest[-1]
    return file


def place(shared: Path, root: Path, names: Iterable[str]) -> None:
    """Put published features below the root of data sets, as a download would: links to the files
    of the shared folder.
    """
    from coder_clip.datasets.entry import entry
    from coder_clip.encoders.text_tables import TextTables

    files: list[tuple[str, Path]] = []
    for name in names:
        found = entry(name)
        files += [(d.url, root / found.folders[0] / str(d.gives)) for d in found.downloads]
    tables = TextTables("features:true_clip", root)
    for file in tables.list.files:
        if file.source:
            (base, *_) = tables.list.sources[file.source].base
            files.append((f"{base}/{file.path or file.file}", tables.folder / file.file))
    for url, target in files:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.symlink_to(local(shared, "/" + REMOTE.sub(r"\1/\2/", url)))


class Served(dict[str, bytes]):
    """Files of a `web.Web`, read when they are asked for. lost: a part of paths that it lacks."""

    def __init__(self, shared: Path, lost: str) -> None:
        self.shared, self.lost = shared, lost

    def get(self, path: str, default: bytes | None = None) -> bytes | None:  # type: ignore[override]
        return None if self.lost in path else content(self.shared, path)


def main(port: int) -> None:
    shared = Path(
        os.environ.get("CODER_CLIP_SHARED", Path(__file__).resolve().parents[3] / "shared")
    )

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = content(shared, self.path)
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
