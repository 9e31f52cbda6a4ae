"""Archives for tests: of all kinds, and some that mean harm."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

V2 = "imagenetv2-matched-frequency-format-val"
# what is in the published archives: for each, where the planted tree has it and where the archive
# has it
PUBLISHED_ARCHIVES: dict[str, dict[str, list[tuple[str, str]]]] = {
    "dtd": {"dtd-r1.0.1.tar.gz": [("dtd/images", "dtd/images"), ("dtd/labels", "dtd/labels")]},
    "oxford_pets": {"images.tar.gz": [("oxford_pets/images", "images")]},
    "eurosat": {"EuroSAT.zip": [("eurosat/2750", "2750")]},
    "fgvc_aircraft": {
        "fgvc-aircraft-2013b.tar.gz": [("fgvc_aircraft", "fgvc-aircraft-2013b/data")]
    },
    "oxford_flowers": {"102flowers.tgz": [("oxford_flowers/jpg", "jpg")]},
    "food101": {
        "food-101.tar.gz": [
            ("food-101/images", "food-101/images"),
            ("food-101/meta", "food-101/meta"),
        ]
    },
    "ucf101": {"UCF-101-midframes.zip": [("ucf101/UCF-101-midframes", "UCF-101-midframes")]},
    "sun397": {
        "SUN397.tar.gz": [("sun397/SUN397", "SUN397")],
    },
    "cub200": {
        "CUB_200_2011.tgz": [("CUB_200_2011", "CUB_200_2011"), ("attributes.txt", "attributes.txt")]
    },
    "imagenet_v2": {"imagenetv2-matched-frequency.tar.gz": [(f"imagenetv2/{V2}", V2)]},
    "places365": {
        "val_256.tar": [("places365/val_256", "val_256")],
        "filelist_places365-standard.tar": [("places365/places365_val.txt", "places365_val.txt")],
    },
}


def pack(archive: Path, made: Path, members: list[tuple[str, str]]) -> Path:
    """An archive of parts of a planted tree. members: where the tree has each and where the archive
    has it.
    """
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            for source, inside in members:
                for path in sorted((made / source).rglob("*")) or [made / source]:
                    file.write(path, Path(inside, path.relative_to(made / source)))
    else:
        with tarfile.open(
            archive, "w" if archive.suffix == ".tar" else "w:gz", dereference=True
        ) as tar:
            for source, inside in members:
                tar.add(made / source, inside)
    return archive


def tar_with(path: Path, *members: tuple[str, Any], mode: str = "w:gz") -> Path:
    """Members: (name, bytes), or (name, TarInfo settings)."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, what in members:
            info = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                info.size = len(what)
                tar.addfile(info, io.BytesIO(what))
            else:
                for key, value in what.items():
                    setattr(info, key, value)
                tar.addfile(info)
    return path


def zip_with(path: Path, *members: tuple[str, bytes, int]) -> Path:
    """Members: (name, content, Unix mode)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            file.writestr(info, content)
    return path


def below(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


EVIL_TAR: dict[str, tuple[str, Any]] = {
    "parent": ("../evil", b"x"),
    "hidden parent": ("d/../../evil", b"x"),
    "absolute": ("/tmp/evil-coder-clip", b"x"),
    "link out": ("d/link", {"type": tarfile.SYMTYPE, "linkname": "/etc"}),
    "link in": ("d/link", {"type": tarfile.SYMTYPE, "linkname": "good.jpg"}),
    "hard link": ("d/link", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}),
    "pipe": ("d/pipe", {"type": tarfile.FIFOTYPE}),
    "character device": ("d/null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}),
}
