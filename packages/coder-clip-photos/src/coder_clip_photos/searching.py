"""``coder-clip find`` and ``duplicates``: search in your own photos (docs/photos.md)."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coder_clip.cli.options import app
from coder_clip.errors import UserError

from .command_parts import (
    DEFAULT_MODEL,
    MODEL,
    PANEL,
    CacheOption,
    FormatOption,
    OutOption,
    PhotosArgument,
    PretrainedOption,
    chosen_format,
    end,
    note,
    quiet_about_large_photos,
    refuse_no_number,
    table_width,
    write,
)

if TYPE_CHECKING:
    from torch import Tensor

    from .encoding import PhotoEncoder

SheetOption = Annotated[
    Path | None,
    typer.Option(help="Draw these photos on one page: .jpg or .png.", metavar="FILE"),
]
TopOption = Annotated[
    int | None,
    typer.Option(help="How many photos to show; default: 10, all with --above.", metavar="N"),
]


@app.command(rich_help_panel=PANEL)
def find(
    photos: Annotated[
        str, typer.Argument(help="A folder, a photo, or - for a list.", metavar="PHOTOS")
    ],
    texts: Annotated[
        list[str] | None, typer.Argument(help="What to look for; of several, the mean.")
    ] = None,
    minus: Annotated[
        list[str] | None, typer.Option(help="What not to look for; repeatable.")
    ] = None,
    like: Annotated[
        list[Path] | None,
        typer.Option(help="A photo to look for others like it; repeatable.", metavar="PHOTO"),
    ] = None,
    top: TopOption = None,
    above: Annotated[
        float | None, typer.Option(help="Only photos with a larger score.", metavar="X")
    ] = None,
    sheet: SheetOption = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help=MODEL)] = None,
    pretrained: PretrainedOption = None,
    format: FormatOption = None,
    out: OutOption = None,
    cache: CacheOption = True,
) -> None:
    """Find the photos that are most like a text or another photo.

    For example:

    - coder-clip find photos "a red bird on a branch" --sheet birds.jpg

    - coder-clip find photos "a bird" --minus "a drawing of a bird" --top 50

    - coder-clip find photos --like bird.jpg "in the snow" --above 60

    score: 100 × the mean cosine of the photo with the texts and photos to be like, minus the same
    for --minus. It compares photos for one search and is not a probability.
    Texts are read as typed, without a template.

    Photos that cannot be read, and the exit status: as in classify.
    """
    from . import files, listing
    from .encoding import PhotoEncoder, encoder_spec
    from .find import check_sheet, draw_sheet, likest

    # what the libraries have made stays; to look through it again and again while a hundred
    # thousand photos are listed takes a fifth of the search
    gc.freeze()
    format, texts, minus, like = chosen_format(format, out), texts or [], minus or [], like or []
    if not texts and not like:
        raise UserError("what to look for? Give a text, or a photo with --like")
    refuse_no_number("--above", above)
    for text in [*texts, *minus]:
        _refuse_no_text(text, len(texts))
    places = files.find([photos])
    top = _top(top, above, len(places.files))
    if sheet is not None:
        check_sheet(sheet, min(top, len(places.files)))
        files.refuse_within("--sheet", sheet, places)
    encoder = PhotoEncoder(encoder_spec(model or DEFAULT_MODEL, pretrained), cache)
    quiet_about_large_photos()
    # what to look for comes first: a photo of --like that cannot be read is refused at once
    plus, unlike = _queries(encoder, texts, minus, like)
    looked_at = encoder.look_at(places.files, progress=True)
    found = []
    if looked_at.kept:
        found = likest(looked_at, plus, unlike, top, above)
    write(listing.ranked(found, format, table_width(out)), out)
    if sheet is not None and found:
        draw_sheet(sheet, found)
        note(f"written to {files.shown(sheet)}")
    if looked_at.kept:
        kept = listing.photo_count(len(looked_at.kept))
        note(
            f"{len(found):,} of {kept}{_search(texts, minus, like, above)}; scores compare photos "
            "for one search and are not probabilities"
        )
    end(places, len(looked_at.kept), looked_at.skipped)


def _queries(
    encoder: PhotoEncoder, texts: list[str], minus: list[str], like: list[Path]
) -> tuple[Tensor, Tensor]:
    """Features (P, d) of what to be like, and (M, d) of what to be unlike."""
    import torch

    n_texts = len(texts)
    found = torch.zeros(0, encoder.dim)
    if texts or minus:
        found = encoder.texts([*texts, *minus])
    plus, unlike = found[:n_texts], found[n_texts:]
    if like:
        plus = torch.cat([plus, encoder.images(like)])
    return plus, unlike


def _top(top: int | None, above: float | None, n: int) -> int:
    """How many of n photos to show: 10, or all with ``--above``, if the user does not say."""
    if top is None and above is None:
        return 10
    if top is None:
        return max(1, n)
    if top < 1:
        raise UserError(f"--top {top}: give 1 or more")
    return top


def _search(texts: list[str], minus: list[str], like: list[Path], above: float | None) -> str:
    """What was looked for, in words."""
    from . import files

    parts = [f"'{t}'" for t in texts] + [f"like {p}" for p in like]
    search = files.shown(", ".join(parts + [f"not '{t}'" for t in minus]))
    if above is None:
        return f" for {search}"
    return f" for {search}, with a score above {above:g}"


def _refuse_no_text(text: str, n_texts: int) -> None:
    """Raise UserError for an empty text, or a photo or folder where a text is needed."""
    from .files import shown

    if not text.strip():
        raise UserError("a text to look for is empty")
    if os.path.isfile(text):
        raise UserError(f"'{shown(text)}' is a file: give a photo to be like with --like")
    if n_texts > 1 and os.path.isdir(text):
        raise UserError(f"'{shown(text)}' is a folder: give one place, then the texts to look for")


@app.command(rich_help_panel=PANEL)
def duplicates(
    photos: PhotosArgument,
    copy_to: Annotated[
        Path | None,
        typer.Option(help="Copy the photos without the others of each group.", metavar="DIR"),
    ] = None,
    format: FormatOption = None,
    out: OutOption = None,
) -> None:
    """List copies and near twins: which photo of each group to keep, and which others there are.

    For example:

    - coder-clip duplicates photos --out twice.csv

    - coder-clip duplicates photos --copy-to once

    Copies have the same content. Near twins have nearly the same pixels: scaled or saved again, cut
    at the edges, shots of one scene (docs/near_twins.md). The largest file of a group is the one to
    keep. No encoder is needed, and no photo is removed.
    """
    from . import files, listing
    from .duplicates import duplicate_groups

    format = chosen_format(format, out)
    places = files.find(photos)
    if copy_to is not None:
        files.refuse_within("--copy-to", copy_to, places)
    quiet_about_large_photos()
    groups = duplicate_groups(places.files)
    paths = [([str(places.files[i]) for i in photos], exact) for photos, exact in groups]
    write(listing.duplicates(paths, format, table_width(out)), out)
    others = {path for photos, _ in paths for path in photos[1:]}
    if copy_to is not None:
        kept = [path for path in places.files if str(path) not in others]
        made = files.copy_all(copy_to, kept)
        note(f"{listing.photo_count(made)} copied to {files.shown(copy_to)}")
    note(
        f"{listing.photo_count(len(places.files))}: {len(groups):,} groups, {len(others):,} photos "
        "more than one of each"
    )
    end(places, len(places.files), [])
