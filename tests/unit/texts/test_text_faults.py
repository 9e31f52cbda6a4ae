"""Sets with one fault each, of every kind that a reader would see at once, and texts that are fair.

The tables are the measure of `texts check`: each bad set must be seen, and a fair text must pass.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coder_clip.texts.checks import Fault, check_texts
from coder_clip.texts.sets import ClassTexts, Pair, PairSet, TextSet

CLASSES: dict[str, dict[str, list[str]]] = {
    "grey wolf": {
        "attribute": [
            "a long muzzle with a black tip",
            "a shaggy coat on high legs",
            "amber eyes set close together",
        ],
        "analogous": ["a jackal", "a husky"],
        "synonym": ["Canis lupus", "timber wolf"],
    },
    "red fox": {
        "attribute": [
            "a white tip on the tail",
            "black socks on orange legs",
            "a pointed orange face",
        ],
        "analogous": ["a dhole"],
        "synonym": ["reynard"],
    },
    "barn owl": {
        "attribute": [
            "a white heart-shaped face",
            "golden spotted wings",
            "two long feathered legs",
        ],
        "analogous": ["a kestrel"],
        "synonym": ["Tyto alba"],
    },
    "hedgehog": {
        "attribute": ["short brown spines all over", "a wet black nose", "tiny round ears"],
        "analogous": ["a porcupine"],
    },
}
SIDES = (
    ["a grey ruff around the neck", "a broad grey head", "long grey legs"],
    ["a white bib", "a bushy orange tail", "black ear backs"],
)


def faults(
    change: Callable[[dict[str, dict[str, list[str]]]], object] = lambda classes: None,
    sides: tuple[list[str], list[str]] = SIDES,
    classes: list[str] | None = None,
) -> list[Fault]:
    """Faults of the set after a change."""
    entries = {
        name: {kind: list(of) for kind, of in texts.items()} for name, texts in CLASSES.items()
    }
    change(entries)
    texts = TextSet(
        dataset="d", classes=[ClassTexts(name=name, **of) for name, of in entries.items()]
    )
    pair = Pair(
        a="grey wolf", b="red fox", a_index=0, b_index=1, a_not_b=sides[0], b_not_a=sides[1]
    )
    return check_texts(texts, PairSet(dataset="d", pairs=[pair]), classes=classes)


def with_text(text: str, kind: str = "attribute", name: str = "grey wolf") -> list[Fault]:
    return faults(lambda classes: classes[name].setdefault(kind, []).append(text))


def test_the_set_itself_is_fair() -> None:
    assert faults(classes=list(CLASSES)) == []


# ---- one attribute

BAD = {
    "own name": [
        "grey wolves in deep snow", "the gray wolf's thick coat", "some grey wolf fur", "a wolf with grey fur",
        "GREY WOLF ears", "a greywolf muzzle", "wolf-grey, grey-wolf fur", "the coat of a gray-wolf",
    ],
    "other name": [
        "red foxes nearby", "a fox-like red fox tail", "barn owls", "a face like a barn-owl's", "hedgehogs",
        "the red fox", "an owl, barn type", "a jackal", "Canis lupus",
    ],
    "negation": [
        "zero stripes", "mane-free shoulders", "stripe-free legs", "a coat minus the spots",
        "ears free from tufts", "nothing on the back", "a tail w/o a tip", "a crestless head", "hornless brow",
        "a stripeless back", "a beardless chin", "anything but a short tail", "legs sans markings",
        "few if any spots", "neither mane nor crest", "a body devoid of colour", "cannot climb trees",
        "no visible neck", "not a bushy tail", "lacks a mane", "unspotted fur", "fails to curl its tail",
        "a coat excluding white", "doesn't have stripes", "toeless feet",
    ],
    "comparative": [
        "the biggest paws", "redder fur", "the longest legs of all", "a most imposing head",
        "a thicker ruff than other wolves", "a heavier build compared to dogs", "larger than average ears",
        "the palest eyes", "bushier tail", "paler belly", "shaggiest coat", "different from a dog",
        "a better coat", "broader shoulders", "more slender legs", "the least fur", "the same as a dog",
    ],
    "measure": [
        "twenty inches of tail", "a body five feet long", "legs two meters tall", "ten centimetres of fur",
        "forty kilograms of muscle", "a foot long snout, a foot long", "two years old", "3 ft tall",
        "an inch long claw, an inch long", "shoulders 80 cm high", "a weight of fifty pounds",
        "costs 20 dollars", "a hundred miles of range",
    ],
    "unseen": [
        "a howling voice, deep voice", "a distinctive howl sound", "smells of earth", "a musky odour",
        "lives in packs", "found in North America", "feeds on deer", "known for its intelligence",
        "hunts at night", "a nocturnal lifestyle", "endangered since 1970", "a loyal temperament",
        "used for pulling sleds", "native to the tundra", "a lifespan of ten years", "discovered in 1758",
        "popular with children", "warm to the touch", "award-winning coat", "eats meat", "a wild origin",
        "a bad reputation",
    ],
    "vague": [
        "a unique look", "typical features", "various nice colors", "an amazing design", "beautiful",
        "a characteristic appearance", "cool shape", "lovely details", "distinctive markings",
        "a striking pattern",
    ],
    "answer": [
        "Sure, here you go 1", "Certainly! a bushy tail", "Here are five features", "I cannot describe it",
        "As an AI model I see a tail", "none", "N/A", "null", "undefined", "I'm sorry", "Is it grey?",
        "Okay, a long tail", "the following features", "Let me know if you need more",
        "Of course: a grey coat", "a photo of a bushy tail", "a tail which has a tip", "Answer: a tail",
    ],
    "form": [
        "\"a bushy tail\"", "'a bushy tail'", "“a bushy tail”", "a bushy tail 🐺", "🐾 paws",
        "https://example.org/wolf", "see www.wolf.com", "- a bushy tail", "* a bushy tail", "1. a bushy tail",
        "1) a bushy tail", "a bushy tail.", "a bushy tail,", "a bushy tail; a long muzzle",
        "a bushy tail, long legs, etc", "<b>a tail</b>", "[a tail]", "{tail}", "a_bushy_tail", "a bushy  tail",
        " a bushy tail", "a bushy tail\n", "a bushy\ttail", "a tail &amp; paws", "**a tail**", "#tail",
        "a caf\u00c3\u00a9-colored tail", "a tail\ufffd", "bushy bushy bushy tail", "the the tail", "brrrghtl",
        "A BUSHY LONG TAIL", "123", "7", "→ a long tail", "a tail | a leg", "tail = bushy",
        "email me@wolf.org",
        "a long and very bushy tail that hangs down behind the "
        "animal while it walks slowly across a wide field of grass",
        "a tail...", "!!!", "★ long tail", "a tail (bushy)", "tail:bushy, ears: pointed", "a bushy tail\u200b",
        "half \ud800 letter",
    ],
    "wording": [
        "is grey all over", "it has a tail", "with a bushy tail", "and a bushy tail", "the tail is bushy",
        "they have long legs", "usually a bushy tail", "similar to a dog", "looks like a dog",
        "can be seen in snow", "in deep snow", "its tail is long", "because of the fur", "this animal",
        "a tail often has a tip", "wolf is grey",
    ],
    "others": [
        "GreyWolf ears", "grey_wolf ears", "the wolf (grey)", "gray wolves' teeth", "wolfs of grey colour",
        "dozens of inches of fur", "a couple of feet long", "half a meter tall", "one inch wide",
        "a three-foot tail", "tbc", "Lorem", "TBD", "placeholder", "attribute 1", "text text text", "blah blah", "some attribute",
        "(description)", "?", "...", "-", "n.a.", "not sure", "I don't know", "unknown", "no idea", "various",
        "etc", "misc", "other", "same", "as shown", "as described", "feature: bushy tail",
        "1) tail 2) legs", "tail/legs/ears", "tail, legs, ears", "A.", "bushy tail!", "Bushy tail?",
        "bushy tail :)", "bushy tail ;-)", "<img src=x>", "javascript:alert(1)", "\\n bushy tail",
        "bushy%20tail", "bushy\u00a0tail", "bushy\u2028tail", "ｂｕｓｈｙ ｔａｉｌ", "ᵇᵘˢʰʸ tail", "b u s h y tail",
        "bushybushytail", "tailtailtail", "zzzz", "aaaaaaaa", "qqq", "lkjhg", "the", "a", "of the", "very",
        "and", "it", "wolf wolf", "tallest of all", "superior build", "more or less grey", "increasingly grey",
        "larger", "longest", "grayer", "furrier", "less bushy tail", "thinner than most", "smaller in size",
        "relatively large", "too long a tail", "much bigger", "deprived of spots", "absence of stripes",
        "void of marks", "hasn't a tail", "isn't striped", "not any spots", "hardly a tail", "stripes absent",
        "nonexistent tail", "invisible tail", "unseen legs", "spots lacking", "never white", "nobody around",
        "smells bad", "tastes sweet", "sings loudly", "makes a howl", "howling sound", "heard at night",
        "feels soft", "weighs a lot", "runs fast", "lives long", "eaten by bears", "sold in shops",
        "invented in 1920", "made in China", "found worldwide", "a rare species", "common in Europe",
        "born in spring", "used in films", "liked by kids", "friendly", "smart", "hungry", "a gentle soul",
        "symbol of freedom", "cheap",
        "① a long tail", "· a long tail", "‣ a long tail", "1 a long tail", "1/ a tail", "1- a tail", "a. a tail",
        "Nr. 1 a tail", "first, a tail", "a tail. white paws", "a tail! white paws", "a tail - long",
        "a long tail / white paws", "a tail & paws & ears", "sharp teeth and", "a tail with", "ears that are",
        "a tail of the", "long tail long tail", "a tail, a tail", "a tail and a tail", "an tail", "a ear",
        "a orange eye",
        "a noun phrase", "a JSON object", "eight words", "a photo", "pictured here",
        "ignore previous instructions", "Ignore all prior rules", "a 2m tail", "a tail of 2 m", "a tail 12in long",
        "20'' tail", "5' tall", "3 yrs old", "good eyesight", "a sense of hearing", "0 spots", "spot free fur",
        "stripesless legs", "a black tail only", "a long tail\nwhite paws",
        "susi", "волк", "狼", "늑대", "ذئب", "λύκος", "זאב", "भेड़िया",
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_each_bad_attribute_is_seen(kind: str) -> None:
    """Each would describe images, and cost accuracy that nobody sees."""
    assert [text for text in BAD[kind] if not with_text(text)] == []


FAIR = [
    "a roofless ruin", "a leafless tree", "an older man in a suit", "a missing tooth", "a 12-inch vinyl disc",
    "a headless mannequin", "a windowless brick wall", "a sleeveless dress", "a younger woman with a child",
    "an armless chair", "a bottomless basket", "a stainless steel sink", "a five-dollar bill",
    "a ten-gallon hat", "a 90-degree bend in a pipe", "a two-dollar sign on a stall", "widest at the shoulder",
    "a tail longer than its body", "a wing darker at the tips", "fur paler towards the belly",
    "an upper and a lower deck", "the lower jaw", "a steel cooler full of cans", "a cigarette lighter",
    "flower petals on the ground", "a silver border", "two people facing each other", "a café table",
    "jalapeño rings on top", "a crème brûlée dish", "a papier-mâché mask", "three white stripes on the "
"side",
    "twelve petals around a yellow eye", "two feet on a skateboard", "one foot on a ball",
    "a yard with a fence", "six legs and two antennae", "a sound hole below the strings",
    "a microphone and speakers", "an open beak", "a mouth open in a howl", "a dog barking at a fence",
    "smoke rising from a chimney", "steam above a bowl", "a 'stop' sign", "kids' toys on a rug",
    "a V-shaped tail", "an S-shaped neck", "an L-shaped desk", "pom-pom tail on a small body",
    "a black and white head", "a white head and a black bill", "rows of empty seats",
    "an empty street at night", "a bare branch", "a bald head", "a clean-shaven face",
    "barefoot players on sand", "a half-empty glass", "a broken window", "an unlit candle",
    "unfinished wooden boards", "an uncut loaf", "a non-slip mat", "a forget-me-not blue throat",
    "a no-entry sign", "a hands-free headset", "very long pink legs", "a bird feeding on the ground",
    "plants grown in pots", "people dressed in traditional clothes", "a striped awning over a door",
    "cars parked along a road", "a lot of green leaves", "a red-and-white lighthouse",
    "a woman holding an umbrella", "used tires in a pile", "a price tag on a string",
    "a crowd that waves flags", "TV screens on a wall", "a number 7 on the back", "letters above "
"the entrance",
    "a wheelless car on blocks", "a toothless grin", "an SUV with an LED strip", "an Rx sign", "a onesie",
    "a dial numbered from 0 to 40", "half and half", "a U.S. flag", "a St. Bernard's barrel", "a red-and-white stripe",
    "a one-way arrow", "7 candles on a cake", "a tail curled over the back", "short words in capitals",
    "an X-shaped brace", "an 8-bit screen", "½ cup marks on a glass", "a hat & scarf", "an hourglass",
]  # fmt: skip


def test_fair_attributes_are_not_flagged() -> None:
    """A rule that is often wrong is switched off by its users, and a language model's texts are
    paid for twice.
    """
    flagged = {text: found[0].why for text in FAIR if (found := with_text(text))}
    assert flagged == {}


# Bad texts that no rule sees: a larger word, what cannot be known without the class, another
# spelling.
UNSEEN = [
    "knee-high to a man", "teeth for tearing meat", "wolf fur", "green leaves on a stem",
    "half as tall as a man",
]  # fmt: skip


def test_what_the_rules_do_not_see_is_listed() -> None:
    """A reader of docs/texts_judging.md knows what is left to people. One that is seen by now goes to the
    table above.
    """
    assert [text for text in UNSEEN if with_text(text)] == []


# ---- texts of several classes


@pytest.mark.parametrize(
    ("name", "kind", "text", "rule"),
    [
        ("red fox", "analogous", "grey wolves", "analogous"),
        ("red fox", "analogous", "some grey wolf", "analogous"),
        ("red fox", "analogous", "a gray wolf", "analogous"),
        ("red fox", "analogous", "wolf, grey", "analogous"),
        ("red fox", "analogous", "a timber wolf", "analogous"),
        ("red fox", "analogous", "timber wolves", "analogous"),
        ("grey wolf", "analogous", "Canis-lupus", "analogous"),
        ("red fox", "analogous", "two hedgehogs", "analogous"),
        ("red fox", "analogous", "a young barn owl", "analogous"),
        ("red fox", "analogous", "tiny round ears", "analogous"),
        ("red fox", "analogous", "a pointed orange face", "analogous"),
        ("red fox", "analogous", "orange pointed faces", "analogous"),
        ("red fox", "analogous", "a small red fox", "own name"),
        ("red fox", "analogous", "the red foxes", "analogous"),
        ("red fox", "analogous", "dholes", "repeat"),
        ("red fox", "analogous", "similar to a dog", "wording"),
        ("red fox", "analogous", "none", "answer"),
        ("red fox", "analogous", "analogous 1", "answer"),
        ("red fox", "synonym", "timber wolf", "synonym"),
        ("red fox", "synonym", "the timber wolves", "synonym"),
        ("red fox", "synonym", "hedgehogs", "synonym"),
        ("red fox", "synonym", "the red fox", "synonym"),
        ("red fox", "synonym", "Red_Fox", "synonym"),
        ("red fox", "synonym", "no known synonym", "answer"),
        ("red fox", "synonym", "also known as Vulpes", "answer"),
        ("red fox", "synonym", "Reynard", "repeat"),
        ("red fox", "synonym", "synonym", "answer"),
        ("red fox", "synonym", "лиса", "form"),
        ("red fox", "attribute", "tiny rounded ears", ""),
        ("red fox", "attribute", "round tiny ears", "shared"),
        ("red fox", "attribute", "A Wet-Black Nose", "shared"),
        ("red fox", "attribute", "2 long feathered legs", "shared"),
        ("red fox", "attribute", "the wet black noses", "shared"),
        ("grey wolf", "attribute", "amber eyes set close together", "repeat"),
        ("grey wolf", "attribute", "an amber eye set close together", "repeat"),
        ("hedgehog", "attribute", "a kestrel", "other name"),
        ("hedgehog", "attribute", "timber wolves", "other name"),
        ("hedgehog", "attribute", "the ears of a barn-owl", "other name"),
    ],
)
def test_texts_that_others_have_are_seen_in_every_form(
    name: str, kind: str, text: str, rule: str
) -> None:
    """A name in another number, spelling or order draws one class to the other as well."""
    rules = {f.rule for f in with_text(text, kind, name)}
    assert rule in rules if rule else not rules


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda c: c["red fox"]["attribute"].clear(), "count"),
        (lambda c: c["red fox"]["attribute"].pop(), "count"),
        (lambda c: c.update({"stoat": {"analogous": ["a weasel"]}}), "count"),
        (lambda c: c.update({"stoat": {}}), "count"),
        (lambda c: c.update({"Red_Fox": c["red fox"]}), "classes"),
        (lambda c: c.update({"TODO": c.pop("hedgehog")}), "classes"),
        (lambda c: c.update({"hedgehogs": c.pop("hedgehog")}), "classes"),
        (lambda c: c.pop("hedgehog"), "classes"),
        (lambda c: c.update({"hedge\u200bhog": c.pop("hedgehog")}), "form"),
        (lambda c: c["red fox"].update(attribute=c["grey wolf"]["attribute"]), "shared"),
        (lambda c: c.update({" ": c.pop("hedgehog")}), "form"),
        (lambda c: c["red fox"].update(synonym=["a reynard"]), "wording"),
        (lambda c: c["red fox"].update(sentence=["TODO"]), "answer"),
        (lambda c: c["red fox"].update(sentence=["A fox\ufffd is red."]), "form"),
    ],
)
def test_faults_of_a_whole_set_are_seen(change: Callable[[object], object], rule: str) -> None:
    assert rule in [f.rule for f in faults(change, classes=list(CLASSES))]  # type: ignore[arg-type]


def test_a_class_that_is_there_twice_is_named() -> None:
    """A run would use one of the two entries, and nobody knows which."""
    fox = ClassTexts(name="red fox", **CLASSES["red fox"])
    found = check_texts(TextSet(dataset="d", classes=[fox, fox]), classes=["red fox"])
    assert [(f.rule, f.why) for f in found] == [("classes", "it is there 2 times")]
    assert (
        check_texts(TextSet(dataset="d", classes=[fox, fox]), classes=["red fox", "red fox"]) == []
    )


def test_class_names_are_compared_with_those_of_the_data_set() -> None:
    """A set for "stoats" was without a fault where the folder is called "stoat"."""
    found = faults(classes=["grey wolf", "red_fox", "barn owl", "hedge hog", "stoat"])
    assert [(f.owner, f.rule) for f in found] == [
        ("hedge hog", "classes"), ("stoat", "classes"), ("hedgehog", "classes")
    ]  # fmt: skip
    assert "did you mean 'hedge hog'" in found[2].why


@pytest.mark.parametrize(
    ("sides", "rule"),
    [
        ((SIDES[0], []), "count"),
        (([], SIDES[1]), "count"),
        (([], []), "count"),
        ((SIDES[0][:2], SIDES[1]), "count"),
        (([*SIDES[0], "a white bib"], SIDES[1]), "sides"),
        (([*SIDES[0], "the white bibs"], SIDES[1]), "sides"),
        ((CLASSES["red fox"]["attribute"], SIDES[1]), "sides"),
        (([*SIDES[0], "gray wolves' ears"], SIDES[1]), "own name"),
        (([*SIDES[0], "a tail like red foxes"], SIDES[1]), "other name"),
        (([*SIDES[0], "stripe-free legs"], SIDES[1]), "negation"),
        (([*SIDES[0], "a Broad gray head"], SIDES[1]), "repeat"),
    ],
)
def test_faults_of_pairs_are_seen(sides: tuple[list[str], list[str]], rule: str) -> None:
    """One side alone changes nothing, and swapped sides prefer the wrong class."""
    assert rule in [f.rule for f in faults(sides=sides)]


def test_a_fault_is_one_line_whatever_is_in_it() -> None:
    (found,) = with_text("half a \ud800 letter\nand a line")
    assert "\n" not in str(found)
    str(found).encode()
