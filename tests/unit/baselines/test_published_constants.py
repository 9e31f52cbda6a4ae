"""Every number that somebody else published and this project repeats, with its source.

A slip would be a wrong baseline.

Repository, file and commit stand beside each; the values were read there. Where the code holds a
table, the whole table is here, so that no entry can change or be forgotten.
"""

from __future__ import annotations

from coder_clip.adapter import grid
from coder_clip.baselines import ape, gda, tip_adapter, tip_x
from coder_clip.baselines.methods import MOST_VIEWS
from coder_clip.datasets.entry import entry
from coder_clip.encoders.preprocessing import _crop_box
from coder_clip.pipeline.sections import AdapterConfig, DatasetConfig, RerankConfig
from coder_clip.protocols import PUBLISHED_INITIAL, PUBLISHED_THRESHOLDS


def test_tip_adapter() -> None:
    """gaopengcuhk/Tip-Adapter at e6bdba4: search_scale [β, α] of configs/*.yaml, search_step [200,
    20] of all of them;
    utils.py, search_hp: both from 0.1, one round; augment_epoch 10."""
    assert tip_adapter.PUBLISHED == {
        "caltech101": (12, 5),
        "dtd": (13, 13),
        "eurosat": (12, 10),
        "fgvc_aircraft": (30, 30),
        "food101": (10, 10),
        "imagenet": (7, 3),
        "oxford_flowers": (50, 50),
        "oxford_pets": (7, 3),
        "stanford_cars": (20, 10),
        "sun397": (12, 10),
        "ucf101": (7, 3),
    }
    assert tip_adapter.published_grid("dtd") == ((0.1, 13, 200), (0.1, 13, 20), 1)
    assert tip_adapter.published_grid("shapes") == ((0.1, 7, 200), (0.1, 3, 20), 1)


def test_tip_x() -> None:
    """vishaal27/SuS-X at 0910683, tipx.py: --temperature 0.5; hparam_search: search_scale [50, 50,
    30], search_step [200, 20, 50] of β from 1, α and γ from 0.1."""
    assert tip_x.TEMPERATURE == 0.5
    assert (tip_x.ALPHAS, tip_x.BETAS, tip_x.GAMMAS) == ((0.1, 50, 20), (1, 50, 200), (0.1, 30, 50))


def test_ape() -> None:
    """yangyangyang127/APE: configs/*.yaml as main.py at 20258ec and utils.py at 6ee66e8 read them:
    training_free_feat_num of RN50's 1,024 channels, w_training_free[0], search_scale [β, α, γ],
    search_step. main.py: β and α from 0.1, γ from 0; 1e-6 in the divergence."""
    b, a, g = (0.1, 7, 200), (0.1, 7, 20), (0.0, 1, 20)
    wide = (0.1, 10, 200)
    assert {name: (round(1024 * c.channels), *c[1:]) for name, c in ape.PUBLISHED.items()} == {
        "caltech101": (800, 0.5, b, a, g),
        "dtd": (400, 0.5, b, a, g),
        "eurosat": (700, 0.9, (0.1, 30, 200), (0.1, 5, 20), (0.0, 1.5, 20)),
        "fgvc_aircraft": (800, 0.1, (0.1, 20, 200), (0.1, 10, 20), g),
        "food101": (700, 0.3, b, a, g),
        "imagenet": (500, 0.7, b, a, (0.0, 0.5, 5)),
        "oxford_flowers": (700, 0.4, b, a, g),
        "oxford_pets": (800, 0.7, b, a, g),
        "stanford_cars": (500, 0.6, wide, a, g),
        "sun397": (800, 0.7, wide, a, g),
        "ucf101": (700, 0.3, wide, a, (0.0, 1.5, 20)),
    }
    assert (800 / 1024, 0.7, b, a, g) == ape.DEFAULT
    assert ape.EPSILON == 1e-6


def test_gda() -> None:
    """mrflogs/ICLR24 at c83409b: main_few_shots.py, the loop over alpha; configs/few_shots/*.yaml,
    augment_epoch.
    """
    assert gda.ALPHAS == (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
    assert MOST_VIEWS == 10


def test_coder() -> None:
    """YCaigogogo/CVPR24-CODER at 1501735: utils.py, get_thres; configs/*.yaml, init_alpha,
    init_beta and augment_epoch; classify_few_shot.py, search_hp; classify_zero_shot.py, topk(5)."""
    assert PUBLISHED_THRESHOLDS == {
        "imagenet": 0.1,
        "imagenet_v2": 0.05,
        "places365": 0.1,
        "caltech101": 0.3,
        "dtd": 0.6,
        "cub200": 0.2,
        "eurosat": 0.3,
        "food101": 0.1,
        "oxford_pets": 0.1,
    }
    assert PUBLISHED_INITIAL == {
        "caltech101": (100.0, 24.76),
        "dtd": (2.57, 30.18),
        "eurosat": (1.73, 91.34),
        "fgvc_aircraft": (9.775, 96.0),
        "food101": (1.0, 1.0),
        "imagenet": (1.66, 72.0),
        "oxford_flowers": (4.37, 38.0),
        "oxford_pets": (1.0, 26.0),
        "stanford_cars": (1.5, 23.5),
        "sun397": (1.18, 43.57),
        "ucf101": (2.0, 49.51),
    }
    a = AdapterConfig()
    assert (a.betas, a.alphas, a.rounds) == ((0.1, 200, 500), (0.1, 20, 50), 3)
    assert grid(*a.betas)[[0, 1, -1]].tolist() == [0.1, 0.1 + 199.9 / 500, 0.1 + 499 * 199.9 / 500]
    assert RerankConfig().top_k == 5
    assert DatasetConfig().views == 20


def test_coop() -> None:
    """KaiyangZhou/CoOp, scripts/coop/main.sh and datasets/: 1, 2, 4, 8 and 16 shots of seeds 1, 2
    and 3.
    """
    a = AdapterConfig()
    assert (a.shots, a.seeds) == ([1, 2, 4, 8, 16], [1, 2, 3])


def test_views_are_cut_as_published() -> None:
    """All of them: RandomResizedCrop(size=224, scale=(0.5, 1)), torchvision's ratio 3/4 to 4/3,
    flip with p = 0.5.
    """

    class Draw:
        """The smallest, then the largest of everything."""

        def __init__(self, value: float) -> None:
            self.random = lambda: value

    for value, area in ((0.0, 0.5), (1.0, 1.0)):
        _, _, height, width = _crop_box(400, 400, Draw(value))  # type: ignore[arg-type]
        assert abs(height * width - area * 160_000) < 500 or height == width == 400


def test_the_authors_texts() -> None:
    """YCaigogogo/CVPR24-CODER at 89a6400: CODER/template.py, task_type 'few-shot';
    datasets/class_name/*.txt.
    """
    for name in ("dtd", "oxford_pets"):
        few = entry(name).make_templates()
        assert few.attribute_few_shot == "{class} which has {attribute}"
        assert few.analogous_few_shot == "a {class} similar to {analogous}."
        assert few.attribute != few.attribute_few_shot
    caltech = entry("caltech101")
    changed = dict(
        zip(caltech.class_names(), caltech.make_templates().class_names_as_published, strict=True)
    )
    assert {a: b for a, b in changed.items() if a != b} == {
        "leopard": "Leopards",
        "motorbike": "Motorbikes",
        "airplane": "airplanes",
    }
    cars = entry("stanford_cars").make_templates().class_names_as_published
    assert len(cars) == len(set(cars)) == 196
    assert [cars[i] for i in (0, 34, 195)] == [
        "AM General Hummer SUV 2000",
        "BMW M5 Sedan 2010'",
        "smart fortwo Convertible 2012",
    ]
    assert "Rolls-Royce Phantom Drophead Coupe Co" in cars
