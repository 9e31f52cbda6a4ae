"""A small data set of random features as the artefacts of a run, and the method on it in plain
loops.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import reference
from coder_clip.foundation.artifacts import Paths, write_tensors
from coder_clip.pipeline.config import Config
from coder_clip.rerank import OneToOne

torch.set_num_threads(1)

N_CLASSES, WIDTH, TOP, GRID = 6, 8, 3, [0.0, 0.05, 0.1, 0.2, 0.4, 0.8]
KINDS = {  # kind -> texts a class
    **{"name": 1, "prompt": 2, "attribute": 3, "analogous": 1, "synonym": 2},
    **{"attribute:as_published": 3, "analogous:as_published": 1, "synonym:as_published": 1},
    **{
        f"{kind}:names_as_published": n
        for kind, n in (("name", 1), ("attribute", 3), ("analogous", 1))
    },
    **{
        f"{kind}:names_as_published:as_published": n
        for kind, n in (("attribute", 3), ("analogous", 1))
    },
    **{
        ":".join(["attribute", "few_shot", *tags]): 3
        for tags in (
            (),
            ("names_as_published",),
            ("as_published",),
            ("names_as_published", "as_published"),
        )
    },
}


ENCODER = {"model": "made up", "pretrained": ""}


class Toy:
    """A data set of features alone: images near their class's texts, every kind of text, all pairs."""

    def __init__(self, root: Path, seed: int = 14, burst: int = 1) -> None:
        self.burst = burst  # this many images of a class after another are near twins
        rng = np.random.default_rng(seed)
        self.config = Config.model_validate(
            {
                "results": str(root),
                "datasets": {"toy": {"root": "toy", "threshold": 0.3}},
                "models": {"m": {"model": "hf-hub:a/b"}},
                "settings": ["as_published", "clean"],
                "rerank": {"top_k": TOP, "thresholds": GRID},
                "adapter": {
                    **{"methods": ["tip_adapter", "coder_adapter"], "initial": [2.0, 30.0]},
                    **{"shots": [2], "seeds": [1, 2]},
                    **{"betas": [0.1, 40, 12], "alphas": [0.1, 5, 6], "rounds": 2},
                },
            }
        )
        centres = rng.normal(size=(N_CLASSES, WIDTH))
        self.texts = {
            (kind, c): torch.tensor(centres[c] + 1.5 * rng.normal(size=(n, WIDTH))).float()
            for kind, n in KINDS.items()
            for c in range(N_CLASSES)
        }
        self.pairs = {
            (a, b): torch.tensor(
                centres[a] - centres[b] + 0.1 * rng.normal(size=(2, WIDTH))
            ).float()
            for a in range(N_CLASSES)
            for b in range(N_CLASSES)
            if a != b
        }
        self.published_pairs = {  # of sentences that name the classes otherwise
            pair: texts
            + 0.9 * torch.tensor(np.random.default_rng(8).normal(size=texts.shape)).float()
            for pair, texts in self.pairs.items()
        }
        self.images = {
            s: self._images(rng, centres, n) for s, n in (("shots", 30), ("val", 50), ("test", 90))
        }
        noise = np.random.default_rng(9).normal(
            size=(4, N_CLASSES, WIDTH)
        )  # four draws, some worse than others
        self.random_words = torch.tensor(
            0.2 * centres + 0.1 * noise * np.arange(1, 5)[:, None, None]
        ).float()
        self._write()

    @staticmethod
    def _images(rng: np.random.Generator, centres: np.ndarray, n: int) -> tuple[Tensor, Tensor]:
        labels = np.arange(n) % N_CLASSES
        x = 0.6 * centres[labels] + rng.normal(size=(n, WIDTH))
        return torch.tensor(x).float(), torch.from_numpy(labels)

    def groups(self, split: str) -> Tensor:
        """The group of each image: of every class the first ``burst`` images, the next ones, and so
        on.
        """
        place = torch.arange(len(self.images[split][0]))
        return (
            1000 * list(self.images).index(split)
            + place % N_CLASSES
            + N_CLASSES * (place // (N_CLASSES * self.burst))
        )

    def _write(self) -> None:
        paths, classes = Paths(self.config.results), [f"class {c}" for c in range(N_CLASSES)]
        meta = {"model": "m", "dataset": "toy", "classes": classes, "encoder": ENCODER}
        for split, (x, labels) in self.images.items():
            ids = [f"{split}/{i}" for i in range(len(x))]
            of_class = [ids[c::N_CLASSES] for c in range(N_CLASSES)]
            draws = {
                str(s): [[ids_[(s + shot) % 5] for ids_ in of_class] for shot in range(2)]
                for s in (1, 2)
            }
            head = {**meta, "split": split, "ids": ids, "skipped": [], "draws": draws}
            tensors = {"features": x, "labels": labels}
            if self.burst > 1:
                tensors["groups"] = self.groups(split)
            write_tensors(paths.image_features("m", "toy", split), tensors, head)
        rows = [(kind, c, t) for (kind, c), texts in self.texts.items() for t in texts]
        tensors = {
            "features": torch.nn.functional.normalize(torch.stack([t for _, _, t in rows]), dim=1),
            "class_index": torch.tensor([c for _, c, _ in rows]),
            "template_weights": torch.stack([self.texts["prompt", c][0] for c in range(N_CLASSES)]),
            "random_words": self.random_words,
            "imagenet_names": torch.eye(WIDTH),
        }
        sentences = [f"{kind} {c} {i}" for i, (kind, c, _) in enumerate(rows)]
        head = {**meta, "text": sentences, "kind": [kind for kind, _, _ in rows]}
        write_tensors(paths.text_features("m", "toy"), tensors, head)
        state = OneToOne(self.pairs, N_CLASSES).state()
        published = OneToOne(self.published_pairs, N_CLASSES).state()
        state |= {f"as_published.{key}": tensor for key, tensor in published.items()}
        write_tensors(paths.one_to_one("m", "toy"), state, meta)

    # ---- plain loops

    def of(self, kinds: tuple[str, ...], *tags: str) -> list[Any]:
        """For each class its texts of these kinds."""
        order = [t for t in ("few_shot", "names_as_published", "as_published") if t in tags]
        marked = [":".join([k, *(t for t in order if f"{k}:{t}" in KINDS)]) for k in kinds]
        return [
            np.concatenate([self.texts[k, c].double().numpy() for k in marked])
            for c in range(N_CLASSES)
        ]

    def plain(
        self,
        split: str,
        synonyms: bool = False,
        underscores: bool = False,
        class_names: bool = False,
        one_to_one: bool = False,
    ) -> list[dict[str, Any]]:
        """For each image its gap, candidates and second pick; synonyms, …: whether the bug is in."""
        names = ["names_as_published"] * class_names
        mean = self.of(("attribute", "analogous"), *names, *["as_published"] * underscores)
        most = self.of(("name", "synonym"), *names, *["as_published"] * synonyms)
        x = self.images[split][0].double().numpy()
        texts = self.published_pairs if one_to_one else self.pairs
        pairs = {pair: t.double().numpy() for pair, t in texts.items()}
        found = []
        for image, scores in zip(x, reference.class_scores(x, mean, most), strict=True):
            best = reference.candidates(scores, TOP)
            v = reference.duel_values(image, best, pairs)
            found.append(
                {"gap": reference.gap(scores), "best": best, "second": best[int(np.argmax(v))]}
            )
        return found

    def right(self, split: str, found: list[dict[str, Any]], threshold: float) -> list[bool]:
        labels = self.images[split][1].tolist()
        picks = [f["second"] if f["gap"] < threshold else f["best"][0] for f in found]
        return [p == label for p, label in zip(picks, labels, strict=True)]

    def chosen(self, split: str, found: list[dict[str, Any]]) -> float:
        """The smallest threshold of the highest accuracy."""
        return max(GRID, key=lambda t: (sum(self.right(split, found, t)), -t))
