"""Birds in words: the captions of birds that train `mini`, and the text sets of `rare`, worded apart from them.

A caption says one to four of the marks that are seen. Whether it also says the species' name, `rare.NAMED` decides.
"""
# ruff: noqa: SIM905  (word lists read better in one line)

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from coder_clip.datasets.drawn.rare import PARTS, SPECIES, marks_of

from .captions import PLAIN, WHICH, a, joined, pick

Rng = np.random.Generator
Marks = Mapping[str, str]

# part or part=form -> how captions say it ("{c}": the colour); the more specific entry comes first.
SAID: dict[str, tuple[str, ...]] = {
    "head": ("a {c} head", "{c} head", "a head of {c}", "{c} feathers on the head"),
    "cap": ("a {c} cap", "a {c} crown", "{c} on top of the head"),
    "face=mask": ("a black mask", "a black stripe through the eye", "a dark mask"),
    "face=ring": ("a white eye ring", "a ring round the eye", "a pale eye ring"),
    "face=brow": ("a white brow", "a white stripe over the eye", "a pale brow"),
    "throat": ("a {c} throat", "{c} throat", "a {c} bib"),
    "crest=none": ("a round head", "a smooth head"),
    "crest=pointed": ("a pointed crest", "a crest", "a tuft on the head", "a peaked head"),
    "crest=fan": ("a fan crest", "a crest like a fan", "a spiky crest", "raised head feathers"),
    "beak=thin": ("a thin beak", "a fine bill", "a slim beak"),
    "beak=thick": ("a thick beak", "a stout bill", "a heavy beak", "a cone shaped beak"),
    "beak=hooked": ("a hooked beak", "a beak like a hook", "a hooked bill"),
    "beak=long": ("a long straight beak", "a long bill", "a dagger shaped beak"),
    "beak=curved": ("a curved beak", "a beak that bends down", "a long curved bill"),
    "bill": ("a {c} beak", "{c} bill", "a beak of {c}"),
    "breast": ("a {c} breast", "{c} breast", "a {c} chest", "a breast of {c}"),
    "band": ("a {c} band on the breast", "a {c} necklace", "a {c} collar", "a {c} breast band"),
    "belly": ("a {c} belly", "{c} belly", "a belly of {c}", "a {c} underside"),
    "pattern=none": ("a plain belly", "a clean belly"),
    "pattern=spots": ("a spotted belly", "spots below", "round spots on the belly"),
    "pattern=streaks": ("a streaked belly", "streaks below", "thin lines on the belly"),
    "wing": ("{c} wings", "a {c} wing", "wings of {c}", "a {c} back"),
    "patch=none": ("plain wings", "a plain wing"),
    "patch=bars": ("white wing bars", "two white bars on the wing", "white stripes on the wing"),
    "patch": ("a {c} patch on the wing", "a {c} shoulder", "a {c} wing patch"),
    "tail=short": ("a short tail", "a stubby tail"),
    "tail=long": ("a long tail", "a long thin tail"),
    "tail=forked": ("a forked tail", "a notched tail", "a tail with two points"),
    "tail=fan": ("a fan tail", "a spread tail", "a wide tail"),
    "legs=long": ("long legs", "tall thin legs"),
    "feet": ("{c} legs", "{c} feet"),
}  # fmt: skip

# The same in the words of the text sets: none of these stands in a caption (tests/unit/tools/test_mini.py).
TEXTS: dict[str, tuple[str, str]] = {
    "head": ("a head that is {c}", "a head with {c} feathers"),
    "cap": ("a cap that is {c}", "a {c} cap on the head"),
    "face=mask": ("a mask that is black", "a black mask through the eye"),
    "face=ring": ("a white ring round its eye", "an eye with a pale ring"),
    "face=brow": ("a brow that is white", "a white brow over the eye"),
    "throat": ("a throat that is {c}", "a {c} bib on the throat"),
    "crest=none": ("a smooth round head", "a head that is smooth"),
    "crest=pointed": ("a crest that is pointed", "a pointed tuft on its head"),
    "crest=fan": ("a crest spread like a fan", "a spiky fan of head feathers"),
    "beak=thin": ("a beak that is thin", "a slim fine beak"),
    "beak=thick": ("a beak that is thick", "a heavy stout beak"),
    "beak=hooked": ("a beak that is hooked", "a bill like a hook"),
    "beak=long": ("a beak that is long and straight", "a straight bill like a dagger"),
    "beak=curved": ("a bill that bends down", "a long beak that is curved"),
    "bill": ("a beak that is {c}", "a bill which is {c}"),
    "breast": ("a breast that is {c}", "a chest that is {c}"),
    "band": ("a {c} band across its breast", "a collar that is {c}"),
    "belly": ("a belly that is {c}", "an underside that is {c}"),
    "pattern=none": ("a belly that is plain", "an underside that is clean"),
    "pattern=spots": ("a belly with round spots", "an underside with spots"),
    "pattern=streaks": ("a belly with thin streaks", "an underside with streaks"),
    "wing": ("wings that are {c}", "a back that is {c}"),
    "patch=none": ("wings that are plain", "a wing which is plain"),
    "patch=bars": ("a wing with two white bars", "wings with white stripes"),
    "patch": ("a wing with a {c} patch", "a shoulder that is {c}"),
    "tail=short": ("a tail that is short", "a short stubby tail"),
    "tail=long": ("a tail that is long", "a thin long tail"),
    "tail=forked": ("a tail that is forked", "a forked tail with two points"),
    "tail=fan": ("a tail spread like a fan", "a tail that is wide"),
    "legs=long": ("legs that are long", "tall long legs"),
    "feet": ("legs that are {c}", "feet that are {c}"),
}  # fmt: skip

# Well-known birds that are not a class of `rare`: captions hold their names in every picture. What is called alike.
KNOWN: dict[str, dict[str, str]] = {
    name: marks_of(text)
    for name, text in {
        "parrot": "head=red beak=hooked bill=grey breast=red belly=red wing=green patch=yellow tail=long",
        "canary": "head=yellow beak=thick bill=orange breast=yellow belly=yellow wing=yellow",
        "crow": "head=black beak=thick breast=black belly=black wing=black tail=fan feet=black",
        "swan": "head=white beak=thick bill=orange breast=white belly=white wing=white feet=black",
        "flamingo": "head=pink beak=hooked bill=black breast=pink belly=pink wing=pink legs=long feet=red",
        "stork": "head=white beak=long bill=red breast=white belly=white wing=black legs=long feet=red",
        "pigeon": "head=grey throat=green breast=pink belly=grey wing=grey patch=bars feet=red",
        "peacock": "head=blue crest=fan bill=grey breast=blue belly=green wing=green tail=fan",
        "eagle": "head=white beak=hooked bill=yellow breast=brown belly=brown wing=brown tail=fan feet=yellow",
        "magpie": "head=black breast=black belly=white wing=black patch=white tail=long feet=black",
        "redstart": "head=brown breast=orange belly=white wing=brown",
        "parakeet": "head=blue beak=hooked bill=yellow breast=blue belly=blue wing=blue tail=long",
        "woodpecker": "head=black cap=red beak=long breast=white belly=white wing=black patch=bars tail=short",
        "lark": "head=brown beak=thick breast=grey belly=grey wing=brown patch=bars",
        "cockatoo": "head=white crest=fan beak=hooked breast=white belly=white wing=white tail=fan",
    }.items()
}  # fmt: skip
KNOWN_SYNONYMS = {"crow": ("raven",), "pigeon": ("dove",), "parakeet": ("budgie",), "redstart": ("firetail",), "peacock": ("peafowl",)}  # fmt: skip

# Other names that people use; captions hold them where they may hold the name.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "northern cardinal": ("cardinal grosbeak",),
    "pyrrhuloxia": ("desert cardinal",),
    "summer tanager": ("piranga rubra",),
    "scarlet tanager": ("piranga olivacea",),
    "vermilion flycatcher": ("pyrocephalus",),
    "blue jay": ("cyanocitta",),
    "mountain chickadee": ("gambel chickadee",),
    "eastern bluebird": ("sialia",),
    "lazuli bunting": ("passerina amoena",),
    "indigo bunting": ("passerina cyanea",),
    "american goldfinch": ("wild canary", "eastern goldfinch"),
    "wilson warbler": ("wilsonia",),
    "western tanager": ("piranga ludoviciana",),
    "baltimore oriole": ("northern oriole", "hangnest"),
    "orchard oriole": ("icterus spurius",),
    "american robin": ("migratory thrush",),
    "tree sparrow": ("passer montanus",),
    "wood thrush": ("wood robin",),
    "song sparrow": ("melospiza",),
    "house sparrow": ("english sparrow",),
    "cedar waxwing": ("cedarbird", "cherry bird"),
    "bohemian waxwing": ("bombycilla",),
    "carolina chickadee": ("poecile",),
    "tufted titmouse": ("baeolophus",),
    "barn swallow": ("chimney swallow",),
    "tree swallow": ("tachycineta",),
    "belted kingfisher": ("megaceryle",),
    "common kingfisher": ("halcyon", "river kingfisher"),
    "starling": ("sturnus",),
    "mountain bluebird": ("arctic bluebird",),
    "little egret": ("egretta",),
    "great egret": ("great heron",),
    "sacred ibis": ("threskiornis",),
    "eurasian hoopoe": ("upupa",),
    "kestrel": ("sparrow hawk", "windhover"),
    "bullfinch": ("pyrrhula",),
}

# Words of made-up names: captions call any bird by one of these or by two of all words of bird names, beside its marks. Most
# names tell CLIP as little; without them the text tower would not learn to read marks beside a name that it does not know.
STRANGERS = tuple(
    "avocet babbler barbet bittern boobook bulbul bustard cassowary coot cormorant corncrake "
    "courser crake curlew dabchick dipper dotterel drongo dunlin dunnock eider fieldfare fulmar "
    "gadwall gallinule gannet garganey godwit goosander goshawk grebe greenshank guillemot "
    "gyrfalcon hobby hornbill jacana jackdaw junco kiskadee kittiwake knot lapwing limpkin linnet "
    "longspur lorikeet merganser merlin moorhen myna nightjar noddy nuthatch oropendola osprey "
    "ouzel ovenbird oystercatcher partridge petrel phoebe pintail pipit plover pochard potoo "
    "pratincole ptarmigan puffin quail quetzal redpoll rhea rook ruff sanderling sandpiper scaup "
    "scoter serin shag shearwater shelduck shoveler shrike siskin skua smew snipe sora stilt stint "
    "sunbird swift tapaculo teal tern towhee trogon turaco turnstone twite veery verdin vireo "
    "wagtail wheatear whimbrel whinchat whydah wigeon willet wren wryneck".split()
)
NAMES = frozenset(
    [
        *SPECIES,
        *KNOWN,
        *(n for names in (*SYNONYMS.values(), *KNOWN_SYNONYMS.values()) for n in names),
    ]
)
NAME_WORDS = (*STRANGERS, *sorted({word for name in NAMES - set(KNOWN) for word in name.split()}))
KINDS = ("bird", "small bird", "animal", "wild bird")


def free(rng: Rng) -> dict[str, str]:
    """Marks in free combination: what can be absent mostly is, and breast and belly often share a colour."""
    marks = {}
    for part, forms in PARTS.items():
        if forms[0] in ("none", "plain"):
            if rng.random() < 0.45:
                marks[part] = forms[0]
                continue
            forms = forms[1:]
        marks[part] = forms[int(rng.integers(len(forms)))]
    for part, like in (("breast", "head"), ("belly", "breast"), ("wing", "belly")):
        if rng.random() < 0.3:
            marks[part] = marks[like]
    return marks


def phrase(words: Mapping[str, tuple[str, ...]], part: str, form: str) -> tuple[str, ...]:
    """The ways to say that `part` looks like `form`; none where there is nothing to say."""
    if f"{part}={form}" in words:
        return words[f"{part}={form}"]
    if part not in words or form in ("none", "plain"):  # nothing to say of what is absent or usual
        return ()
    return tuple(text.replace("{c}", form) for text in words[part])


def sayable(words: Mapping[str, tuple[str, ...]], marks: Marks) -> dict[str, tuple[str, ...]]:
    """part -> the ways to say how it looks, for the parts of which there is something to say."""
    return {part: ways for part in PARTS if (ways := phrase(words, part, marks[part]))}


def facts(rng: Rng, marks: Marks) -> str:
    """One to four marks of a bird, joined as people join them."""
    ways = list(sayable(SAID, marks).values())
    n = int(rng.choice([1, 2, 3, 4], p=[0.15, 0.3, 0.3, 0.25]))
    said = [
        options[int(rng.integers(len(options)))]
        for options in (ways[int(i)] for i in rng.permutation(len(ways))[:n])
    ]
    return joined(said)


def caption(rng: Rng, marks: Marks, names: tuple[str, ...] = ()) -> str:
    """A caption of a bird with these marks. With `names`, the name (the first) and its synonyms, half say one of them.

    The other half do not: a picture whose captions all say the name would be pushed away from its own marks, as any
    caption of a batch that is not its own is a wrong one.
    """
    seen = facts(rng, marks)
    if not names or rng.random() < 0.5:
        if rng.random() < 0.3:
            return seen
        if rng.random() < 0.4:
            noun = made_up(rng)
        else:
            noun = pick(rng, KINDS)
        return pick(rng, PLAIN).format(pick(rng, WHICH).format(n=a(noun), f=seen))
    shown = a(names[0] if len(names) == 1 or rng.random() < 0.7 else pick(rng, names[1:]))
    if rng.random() < 0.6:
        shown = pick(rng, WHICH).format(n=shown, f=seen)
    return pick(rng, PLAIN).format(shown)


def made_up(rng: Rng) -> str:
    """A name that tells nothing: a stranger's, or two words of any names that together are nobody's."""
    if rng.random() < 0.4:
        return pick(rng, STRANGERS)
    name = f"{pick(rng, NAME_WORDS)} {pick(rng, NAME_WORDS)}"
    if name in NAMES:
        return made_up(rng)
    return name


def words() -> list[str]:
    """Texts that together hold every word of these captions."""
    ways = [
        text for part, forms in PARTS.items() for form in forms for text in phrase(SAID, part, form)
    ]
    return [*ways, *sorted(NAMES), *KINDS, *STRANGERS]


# --- the text sets of `rare` ----------------------------------------------------------------------------------

# What tells birds apart best comes first, as somebody would who describes one.
ORDER = ("head", "breast", "wing", "cap", "crest", "patch", "belly", "face", "throat", "band", "pattern", "tail", "beak", "legs", "bill", "feet")  # fmt: skip
ATTRIBUTES, ANALOGOUS, DIFFERENCES = 8, 3, 5
# The large parts, whose colours are always said; two birds look alike if so many of these colours are the same.
PLUMES, ALIKE = frozenset({"head", "breast", "belly", "wing"}), 2
# Where a part of one bird is absent ("no cap"), the other's text says what is there instead.
INSTEAD = {"cap": "head", "throat": "head", "face": "head", "band": "breast"}


def attributes(marks: Marks) -> list[str]:
    """The texts of a bird's marks: those that few birds have first, then colours, then the rest."""
    said = sayable(TEXTS, marks)
    striking = [
        p
        for p in ORDER
        if p in said and PARTS[p][0] in ("none", "plain") and marks[p] != PARTS[p][0]
    ]
    rest = [p for p in ORDER if p in said and p not in striking and marks[p] != "none"]
    places = [*striking[:2], *rest[:4], *striking[2:], *rest[4:]]
    return [said[part][i % 2] for i, part in enumerate(places)][:ATTRIBUTES]


def analogous(marks: Marks) -> list[str]:
    """The well-known birds that look like this one, those with most marks in common first; none if no bird does.

    Two birds look alike if at least ALIKE of head, breast, belly and wings have the same colour. A mark counts as
    common only if both birds have it: two birds without a crest have nothing in common.
    """
    common = {name: _common(marks, other) for name, other in KNOWN.items()}
    alike = [name for name, parts in common.items() if len(parts & PLUMES) >= ALIKE]
    return sorted(alike, key=lambda name: -len(common[name]))[:ANALOGOUS]


def _common(a: Marks, b: Marks) -> set[str]:
    """The parts of the outline and the plumage that look the same on both birds, without those that go unsaid."""
    usual = marks_of("")
    return {p for p in ORDER[:13] if a[p] == b[p] and (p in PLUMES or a[p] != usual[p])}


def differences(a: Marks, b: Marks) -> list[str]:
    """What bird a has and b has not, said of what is there and never of what is missing."""
    texts: dict[str, None] = {}
    for part in ORDER:
        if a[part] != b[part]:
            ways = phrase(TEXTS, part, a[part])
            if not ways and part in INSTEAD:
                ways = phrase(TEXTS, INSTEAD[part], a[INSTEAD[part]])
            texts |= dict.fromkeys(ways)
    return list(texts)[:DIFFERENCES]


def _texts_of(name: str, marks: Marks) -> dict[str, Any]:
    """The texts of a species; a kind of which there are none has no entry."""
    kinds = {
        "attribute": attributes(marks),
        "analogous": analogous(marks),
        "synonym": list(SYNONYMS[name]),
    }
    return {"name": name, **{kind: texts for kind, texts in kinds.items() if texts}}


def text_sets() -> tuple[dict[str, Any], dict[str, Any]]:
    """The general text set of `rare` and its one-to-one texts, as data/texts holds them."""
    written = "written for coder-clip from the species' marks, not by the paper's language model"
    source = {"source": written, "date": "2026-11"}
    names = {"source": "the label set of the drawn data set", "date": "2026-11"}
    notes = {
        "attribute": "the species' marks in the wordings of mini/birds.py",
        "analogous": "well-known birds that are no class and share the colour of at least two large parts",
        "synonym": "other names of the species",
    }
    general = {
        "format": 1,
        "dataset": "rare",
        "classes": [_texts_of(name, marks) for name, marks in SPECIES.items()],
        "provenance": {
            "name": names,
            **{kind: {**source, "note": note} for kind, note in notes.items()},
        },
        "exceptions": [
            {
                "rule": "shared",
                "why": "species have parts in common; a class is a combination of parts",
            },
            {
                "rule": "alike",
                "why": "species have parts in common; a class is a combination of parts",
            },
        ],
    }
    pairs = [
        {
            "a": a,
            "b": b,
            "a_index": i,
            "b_index": j,
            "a_not_b": differences(SPECIES[a], SPECIES[b]),
            "b_not_a": differences(SPECIES[b], SPECIES[a]),
        }
        for (i, a), (j, b) in combinations(enumerate(SPECIES), 2)
    ]
    note = "the marks in which two species differ, from both sides"
    one_to_one = {
        "format": 1,
        "dataset": "rare",
        "pairs": pairs,
        "provenance": {"one_to_one": {**source, "note": note}},
        "exceptions": [{"rule": "count", "why": "some species differ in fewer than three parts"}],
    }
    return general, one_to_one


def write_text_sets(folder: Path) -> None:
    """Write ``rare.json`` and ``rare.one_to_one.json``."""
    for name, content in zip(("rare.json", "rare.one_to_one.json"), text_sets(), strict=True):
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
