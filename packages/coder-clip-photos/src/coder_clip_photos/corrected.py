"""The labels of a run's photos that are corrected on the page, in a file for the next run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from coder_clip.datasets.corrections import Correction, read_corrections, write_corrections
from coder_clip.errors import UserError, nearest


@dataclass
class Labels:
    """The labels of a run's photos, corrected in a file beside the configuration, for the next run.

    file: holds the corrections, once there are any. folder_class: image -> class of its folder.
    shown: the file, as the page names it. advice: where the configuration has to name the file, ""
    if it does. corrections: image -> the correction of its label."""

    file: Path
    folder_class: Mapping[str, str]
    classes: list[str]
    shown: str
    advice: str = ""
    corrections: dict[str, Correction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._read()

    def of(self, image: str, now: str | None) -> str | None:
        """The class of an image in the next run; "" if it is left out.

        now: the class in this run, returned for an image whose file is gone.
        """
        if image in self.corrections:
            return self.corrections[image].after
        return self.folder_class.get(image, now)

    def corrected(self, image: str) -> str | None:
        """The class that a correction gives an image, None without a correction."""
        found = self.corrections.get(image)
        if found is None:
            return None
        return found.after

    def correct(self, image: str, to: str) -> None:
        """Save the true class of an image.

        "" leaves the image out of the next run, and the class of its folder removes an earlier
        correction.

        UserError for an unknown class, a photo that is gone, or a file that cannot be read or
        written.
        """
        if to and to not in self.classes:
            raise UserError(f"no class '{to}'{nearest(to, self.classes)}")
        if image not in self.folder_class:
            raise UserError(f"'{image}' is not in the folder any more")
        self._read()  # somebody may have edited the file meanwhile
        before = self.folder_class[image]
        self.corrections.pop(image, None)
        if to != before:
            self.corrections[image] = Correction(before, to)
        write_corrections(self.file, self.corrections)

    def _read(self) -> None:
        self.corrections = read_corrections(self.file) if self.file.exists() else {}
