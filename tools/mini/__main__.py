"""``python -m tools.mini``: train the embedded model, or draw the sheet of its classes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from coder_clip.errors import UserError

EPILOG = """\
examples
  python -m tools.mini train                       the shipped model: 10 to 20 minutes on two idle cores
  python -m tools.mini train --steps 500 --images 8000 --out scratch/mini   a rough one, to see it work
  python -m tools.mini score                       names alone, attributes alone, on validation images
  python -m tools.mini texts                       data/texts/rare*.json
  python -m tools.mini sheet                       docs/images/{shapes,rare}.png
"""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        "python -m tools.mini",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    commands = p.add_subparsers(dest="command", required=True)
    t = commands.add_parser(
        "train", help="draw captioned images, then train (needs no GPU and no network)"
    )
    t.add_argument(
        "--out",
        type=Path,
        default=Path("data/mini"),
        help="folder of the model (default: %(default)s)",
    )
    t.add_argument("--steps", type=int, default=5000, help="of 128 images (default: %(default)s)")
    t.add_argument(
        "--seed",
        type=int,
        default=1,
        help="draws, captions, batches, first weights (default: %(default)s)",
    )
    t.add_argument(
        "--threads",
        type=int,
        default=2,
        help="cores for drawing and training (default: %(default)s)",
    )
    t.add_argument(
        "--images",
        type=int,
        default=60_000,
        help="captioned images to draw (default: %(default)s, 1 GB)",
    )
    t.add_argument("--cache", type=Path, help="where images go (default: ~/.cache/coder-clip/mini)")
    t.add_argument(
        "--float32", action="store_true", help="no bfloat16: for processors without bfloat16 units"
    )
    s = commands.add_parser("score", help="accuracy of names alone and of attributes alone")
    s.add_argument("--out", type=Path, default=Path("data/mini"))
    s.add_argument("--split", default="val", choices=["train", "val", "test"])
    w = commands.add_parser("texts", help="the text sets of `rare`, from its table of marks")
    w.add_argument("--out", type=Path, default=Path("data/texts"))
    c = commands.add_parser("sheet", help="pictures of all classes of `shapes` and `rare`")
    c.add_argument("--out", type=Path, default=Path("docs/images"))
    return p


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        if args.command == "texts":
            from .birds import write_text_sets

            write_text_sets(args.out)
            return 0
        if args.command == "sheet":
            from .sheet import sheets

            sheets(args.out)
            return 0
        from .train import premise, train

        if args.command == "score":
            for dataset, scores in premise(args.out, args.split).items():
                print(dataset, *(f"{kind} {value:.4f}" for kind, value in scores.items()), sep="\t")
            return 0
        train(
            args.out,
            steps=args.steps,
            seed=args.seed,
            threads=args.threads,
            images=args.images,
            store=args.cache,
            half=not args.float32,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
