"""What the captions of `mini`'s training say: names, synonyms, kinds, visual facts and look-alikes, in many phrasings.

The words overlap with the shipped text sets on purpose (a text about seeds helps only a model that has read
about seeds), the sentences do not: the text sets were written apart from this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coder_clip.datasets.drawn.shapes import THINGS

from .things import MORE

Rng = np.random.Generator


class Words(NamedTuple):
    """How a thing is talked about. "{c}" in a fact stands for the variant's colour word."""

    kinds: tuple[str, ...]
    synonyms: tuple[str, ...]
    facts: tuple[str, ...]
    alike: tuple[str, ...] = ()


def _words(kinds: str, synonyms: str, facts: str, alike: str = "") -> Words:
    def cut(s: str) -> tuple[str, ...]:
        return tuple(p.strip() for p in s.split("|") if p.strip())

    return Words(cut(kinds), cut(synonyms), cut(facts), cut(alike))


WORDS: dict[str, Words] = {
    "stop sign": _words("road sign|traffic sign", "halt sign|octagonal sign", "eight sides|eight corners|an octagon shape|white letters|the word stop|a {c} octagon|a white rim|a grey pole|flat edges|a post below", "yield sign|no entry sign|speed limit sign"),
    "traffic light": _words("road signal", "stoplight|traffic signal|stop light", "three round lamps|three lights in a column|a {c} housing|a red lamp at the top|a green lamp at the bottom|an amber lamp in the middle|one lamp that shines|a tall box|lamps stacked on each other", "dice|lighthouse"),
    "traffic cone": _words("road marker|cone", "road cone|safety cone|pylon", "a cone shape|a {c} body|white bands|two white stripes|a flat square base|a narrow top|a wide foot|sloping sides|a blunt tip", "party hat|tent|carrot|lighthouse"),
    "chess board": _words("board game|game board", "checkerboard|chessboard", "a grid of squares|light and dark squares|a checkered pattern|{c} squares|eight rows|straight lines|a dark frame|a square outline|small pieces on it", "checkered flag|chocolate bar|window"),
    "fried egg": _words("food|breakfast", "egg sunny side up|sunny side up egg", "a {c} yolk|a round yolk in the middle|white around a yolk|an uneven white outline|a wavy edge|a shiny spot|a brown rim|a soft white blob|one {c} circle on white", "daisy|plate|stack of pancakes"),
    "pizza slice": _words("food|snack|fast food", "slice of pizza|piece of pizza", "a triangle shape|melted cheese|yellow cheese|a brown crust|a thick crust at the top|round {c} toppings|a point at the bottom|green herbs|{c} circles on yellow", "piece of cheese|slice of cake"),
    "watermelon slice": _words("fruit|food", "slice of watermelon|piece of melon|piece of watermelon", "black seeds|{c} flesh|a green rind|a green skin|a white layer under the skin|a curved green edge|a half circle shape|small dark seeds|a juicy inside", "strawberry|slice of cake"),
    "orange": _words("fruit|food|citrus fruit", "orange fruit|mandarin", "a green leaf|a short stalk|a {c} skin|a round shape|tiny pores|dimples in the peel|a bright spot of light|a stem at the top|{c} peel", "lemon|tomato|apple|tennis ball"),
    "basketball": _words("ball|sports ball|toy", "ball for basketball|hoop ball", "black lines|curved black seams|a {c} surface|a round shape|two lines that cross|four seams|a black outline|dark lines on {c}", "tennis ball|soccer ball|beach ball"),
    "donut": _words("food|pastry|sweet", "doughnut|glazed ring|sprinkled donut", "a hole in the middle|colourful sprinkles|{c} icing|{c} glaze|a ring shape|brown dough|small coloured strokes on the icing|a wavy edge of icing|a light brown rim", "bagel|cookie|button"),
    "life ring": _words("safety gear|rescue gear", "lifebuoy|life buoy|lifesaver", "a hole in the middle|{c} and white bands|four {c} bands|a rope around it|a ring shape|a white ring|a thin cord|stripes across the ring|a big open centre", "car tyre|steering wheel|bagel"),
    "ladybug": _words("insect|animal|bug", "ladybird|lady beetle", "black spots|a {c} shell|six legs|a black head|a line down the back|round wing cases|two feelers|dots on both halves|a domed {c} body", "spider|butterfly|button"),
    "bee": _words("insect|animal|bug", "honeybee|bumblebee|wasp", "black stripes|{c} and black bands|pale wings|see through wings|a sting|a pointed tail|an oval body|two feelers|a black head|a striped body", "butterfly|fish|caterpillar"),
    "snowman": _words("winter figure|figure", "snow figure|man of snow", "a carrot nose|a black hat|a {c} scarf|three white balls|snowballs on top of each other|stick arms|black buttons|a top hat|two round eyes|a white body", "penguin|ice cream cone"),
    "mushroom": _words("fungus|plant", "toadstool|fly agaric", "a {c} cap|white dots|a pale stem|a domed top|white spots on {c}|a thick stalk|a wide cap|a half round cap|a cream foot", "umbrella with dots|tree|jellyfish"),
    "sunflower": _words("flower|plant", "sun flower|yellow flower", "{c} petals|many petals|a brown centre|a dark middle full of seeds|a green stem|green leaves|petals all around|pointed petals|a big round head", "daisy|sun|tulip"),
    "umbrella": _words("rain gear|tool", "parasol|brolly", "a curved handle|a hooked handle|a {c} canopy|panels of cloth|a wavy lower edge|a thin pole|a domed roof|scalloped edges|light and dark panels", "parachute|jellyfish|tent"),
    "lollipop": _words("candy|sweet|food", "lolly|sucker", "a swirl|a white spiral|a thin white stick|a {c} disc|a round candy on a stick|a twisted pattern|{c} and white sugar|a curl that winds inwards", "balloon|snail|ice cream cone"),
    "target": _words("sports gear|sign", "bullseye|bull's eye|dartboard", "rings inside rings|{c} and white circles|concentric circles|a dot in the middle|five rings|an arrow in it|round bands|alternating rings|a {c} centre", "vinyl record|plate|no entry sign"),
    "clock": _words("instrument|timepiece", "wall clock|watch|dial", "two hands|a white face|twelve marks|a {c} rim|hour marks|black hands|a round dial|short lines around the edge|a long and a short pointer", "compass|speed limit sign|plate"),
    "tennis ball": _words("ball|sports ball", "ball for tennis", "two white curves|a {c} surface|a round shape|curved white seams"),
    "soccer ball": _words("ball|sports ball", "football", "{c} patches|five sided patches|a white ball|short seams|a round shape"),
    "beach ball": _words("ball|toy", "inflatable ball", "{c} and white wedges|six wedges|a yellow dot in the middle|a round shape"),
    "crescent moon": _words("thing in the sky", "moon|half moon", "two sharp tips|a curved shape|a {c} sickle|a crescent shape"),
    "sun": _words("thing in the sky", "shining sun", "pointed rays|a {c} circle|spikes all around|ten rays"),
    "stack of pancakes": _words("food|breakfast", "pancakes|hotcakes", "flat {c} layers|butter on top|three layers|a white plate below"),
    "cookie": _words("food|sweet", "biscuit|chocolate chip cookie", "dark chips|a {c} dough|an uneven round edge|brown dots"),
    "car tyre": _words("part of a car", "wheel|tire|car wheel", "a black ring|a {c} rim|five holes|thick black rubber|a round shape"),
    "bagel": _words("food|bread", "bread ring", "a small hole|pale seeds|{c} dough|a ring shape|a hole in the middle"),
    "lemon": _words("fruit|citrus fruit", "lime", "two pointed ends|a {c} skin|an oval shape|a bright spot"),
    "tomato": _words("vegetable|food", "red vegetable", "a green star on top|{c} skin|a round shape|a short green stalk"),
    "apple": _words("fruit|food", "eating apple", "a brown stalk|a green leaf|{c} skin|a dip at the top|a round shape"),
    "pear": _words("fruit|food", "green fruit", "a narrow top|a wide bottom|{c} skin|a brown stalk"),
    "banana": _words("fruit|food", "ripe banana", "a curved shape|a {c} skin|two brown tips|a long shape"),
    "pair of cherries": _words("fruit|food", "cherries|two cherries", "two {c} balls|long green stalks|a green leaf|shiny spots"),
    "strawberry": _words("fruit|berry", "red berry", "tiny pale seeds|a {c} body|green leaves on top|a pointed bottom"),
    "carrot": _words("vegetable|food", "root vegetable", "a long pointed shape|green leaves on top|a {c} root|short dark lines"),
    "ice cream cone": _words("sweet|food", "ice cream|gelato", "a brown cone|a round {c} scoop|a pointed waffle|crossed lines on the cone"),
    "party hat": _words("hat", "birthday hat|paper hat", "a {c} cone|yellow dots|a white ball on top|a wide foot|a cone shape"),
    "christmas tree": _words("tree|plant", "fir tree|pine tree", "three {c} triangles|red and yellow balls|a brown trunk|a pointed top"),
    "tent": _words("shelter", "camping tent", "a triangle shape|a dark entrance|{c} cloth|sloping sides"),
    "house": _words("building", "home|cottage", "a {c} roof|two windows|a brown door|a chimney|pale walls"),
    "lighthouse": _words("building", "light tower", "{c} and white bands|a yellow lamp|a tall tower|a pointed roof"),
    "candle": _words("light", "wax candle", "a flame|{c} wax|a black wick|a tall shape"),
    "light bulb": _words("light", "lamp|electric bulb", "a grey screw|a {c} glass|a thin wire|a round top"),
    "balloon": _words("toy", "party balloon", "a thin string|a {c} skin|an oval shape|a knot below"),
    "kite": _words("toy", "flying kite", "four {c} fields|a string|a diamond shape|four corners"),
    "rocket": _words("vehicle", "space ship|spaceship", "a round window|{c} fins|a flame below|a pointed tip"),
    "sailboat": _words("vehicle|boat", "ship|sailing boat", "a {c} sail|two sails|a brown hull|a mast"),
    "fish": _words("animal", "goldfish", "a tail fin|a round eye|a {c} body|an oval body"),
    "butterfly": _words("insect|animal", "moth", "four wings|{c} wings|white dots|two feelers|a thin black body"),
    "spider": _words("animal|bug", "black spider", "eight legs|long thin legs|a {c} body|two white eyes"),
    "caterpillar": _words("animal|bug|insect", "worm|grub", "round {c} segments|short legs|two feelers|a long body"),
    "snail": _words("animal", "garden snail", "a spiral shell|a {c} shell|a white spiral|two feelers|a long foot"),
    "daisy": _words("flower|plant", "white flower", "{c} petals|a yellow centre|a thin green stem|rounded petals|nine petals"),
    "tulip": _words("flower|plant", "spring flower", "a {c} cup|three tips|a green stem|one long leaf"),
    "cactus": _words("plant", "desert plant", "two arms|a clay pot|white spines|a {c} body"),
    "tree": _words("plant", "leafy tree", "a brown trunk|a {c} crown|round leaves|a thick trunk"),
    "yield sign": _words("road sign|traffic sign", "give way sign", "three corners|a {c} border|a triangle shape|a white middle|a grey pole"),
    "no entry sign": _words("road sign|traffic sign", "do not enter sign", "a white bar|a {c} circle|a white rim|a grey pole"),
    "speed limit sign": _words("road sign|traffic sign", "round road sign", "the number fifty|a {c} ring|a white middle|black digits|a grey pole"),
    "checkered flag": _words("flag", "racing flag", "light and dark squares|a wooden pole|{c} squares|a wavy cloth|a checkered pattern"),
    "dice": _words("toy|game", "die", "round dots|a {c} square|sharp corners|a few spots"),
    "chocolate bar": _words("sweet|food", "chocolate|candy bar", "{c} pieces|a grid of blocks|three rows|a dark {c} ground"),
    "window": _words("part of a house", "glass window", "four panes|blue glass|a {c} frame|a cross of wood"),
    "button": _words("part of a shirt", "shirt button", "four holes|a {c} disc|a thick rim|a round shape"),
    "vinyl record": _words("music", "record|lp", "thin grooves|a {c} label|a black disc|rings inside rings|a small hole"),
    "compass": _words("instrument", "magnetic compass", "a red and blue needle|a {c} rim|a white face|a pointed needle"),
    "plate": _words("dish", "dinner plate", "a {c} rim|a white surface|a thin ring|a flat round shape"),
    "steering wheel": _words("part of a car", "car steering wheel", "three spokes|a {c} ring|a big hub|open gaps"),
    "piece of cheese": _words("food", "cheese|wedge of cheese", "round holes|a {c} block|a wedge shape|a slanted top"),
    "slice of cake": _words("food|sweet", "cake|piece of cake", "layers of {c} cream|a red cherry|a wedge shape|a pale dough"),
    "penguin": _words("animal|bird", "sea bird", "a white belly|an orange beak|a {c} back|orange feet"),
    "cat": _words("animal|pet", "kitten|cat face", "pointed ears|green eyes|whiskers|a {c} face|a pink nose"),
    "mug": _words("cup", "cup|coffee cup", "a round handle|a {c} side|brown coffee|a flat bottom"),
    "pencil": _words("tool", "crayon|colour pencil", "a black tip|a pink eraser|a long {c} body|a pointed end"),
    "heart": _words("symbol", "love heart", "two round bumps|a pointed bottom|a {c} surface"),
    "star": _words("symbol", "five pointed star", "five points|sharp tips|a {c} surface"),
    "parachute": _words("air gear", "chute", "a {c} dome|thin cords|a hanging box|a white panel"),
    "jellyfish": _words("animal|sea animal", "medusa", "long wavy arms|a {c} dome|thin tentacles"),
}  # fmt: skip

ON = (
    ("on a plain background", "on one colour"), ("on grass", "on a lawn", "on green grass"),
    ("in front of a blue sky", "with clouds behind", "in the sky"), ("on sand", "on a beach", "on sandy ground"),
    ("in front of a brick wall", "on bricks"), ("on a wooden table", "on wood", "on brown boards"),
    ("on a striped cloth", "on stripes"), ("on tiles", "on a tiled floor", "in front of a grid"),
)  # fmt: skip
BESIDE = (
    ("", "alone"), ("with small shapes around it", "among other things"),
    ("partly covered", "behind something", "half hidden"), ("with confetti", "behind colourful dots"),
)  # fmt: skip

PLAIN = ("a photo of {}", "a drawing of {}", "a picture of {}", "an image of {}", "{}", "this is {}", "a small picture of {}", "a blurry photo of {}", "there is {} here", "we see {}", "one can see {}")  # fmt: skip
WHICH = (
    "{n} which has {f}",
    "{n} with {f}",
    "{n} that has {f}",
    "{n}, it has {f}",
    "{n} showing {f}",
)
NAMELESS = ("something with {f}", "a thing which has {f}", "an object with {f}", "it has {f}", "{f}", "a thing that shows {f}")  # fmt: skip
LIKE = ("{n} similar to {a}", "{n} that looks like {a}", "{n} which is like {a}", "{n} but not {a}")


def a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def pick(rng: Rng, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def facts(rng: Rng, options: Sequence[str], colour: str) -> str:
    """One to three facts, joined as people join them."""
    n = min(len(options), int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15])))
    chosen = [options[int(i)].replace("{c}", colour) for i in rng.permutation(len(options))[:n]]
    return joined(chosen)


def joined(texts: Sequence[str]) -> str:
    """One or more texts as a list in a sentence: "a, b and c"."""
    if len(texts) == 1:
        return texts[0]
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def place(rng: Rng, x: float, y: float, size: float) -> str:
    """Where the thing sits and how large it is, or nothing where there is nothing to say."""
    words = []
    if x > 0.3:
        words.append("on the right")
    elif x < -0.3:
        words.append("on the left")
    if y > 0.3:
        words.append("at the bottom")
    elif y < -0.3:
        words.append("at the top")
    if size < 0.45:
        words.append("far away")
    elif size > 0.8:
        words.append("close up")
    if not words:
        return ""
    return pick(rng, words)


def thing_caption(
    rng: Rng, name: str, colour: str, background: int, clutter: int, x: float, y: float, size: float
) -> str:
    """One caption of a picture of a thing, often incomplete, now and then without the thing's name."""
    w = WORDS[name]
    u = rng.random()
    noun = name
    if u < 0.14:
        noun = pick(rng, w.synonyms)
    elif u < 0.2:
        noun = pick(rng, w.kinds)
    if rng.random() < 0.25:
        noun = f"{colour} {noun}"
    shown = a(noun)
    v = rng.random()
    if v < 0.28:
        text = pick(rng, WHICH).format(n=shown, f=facts(rng, w.facts, colour))
    elif v < 0.46:
        text = pick(rng, NAMELESS).format(f=facts(rng, w.facts, colour))
        if rng.random() < 0.7:
            return text
        return f"{text} {pick(rng, ON[background])}"
    elif v < 0.54 and w.alike:
        text = pick(rng, LIKE).format(n=shown, a=a(pick(rng, w.alike)))
    else:
        text = shown
        if rng.random() < 0.35:
            text += " " + pick(rng, ON[background])
        if rng.random() < 0.2:
            text += " " + pick(rng, BESIDE[clutter])
        if rng.random() < 0.2:
            text += " " + place(rng, x, y, size)
    text = pick(rng, PLAIN).format(text.strip())
    if rng.random() < 0.5:
        text += "."
    return text


# --- free scenes: what colour, pattern, count and place mean --------------------------------------------------

SHAPES: dict[str, tuple[str, ...]] = {
    "circle": ("a round outline", "no corners"),
    "triangle": ("three corners", "three straight sides"),
    "square": ("four corners", "four equal sides"),
    "pentagon": ("five corners", "five straight sides"),
    "hexagon": ("six corners", "six straight sides"),
    "octagon": ("eight corners", "eight straight sides", "eight flat edges"),
    "star": ("five points", "sharp tips"),
    "ring": ("a hole in the middle", "a round outline with a hole"),
    "cross": ("two bars that cross", "four arms"),
    "half circle": ("one straight side and one curved side", "a flat side"),
    "oval": ("a long round outline", "no corners"),
    "diamond": ("four corners", "a pointed top and a pointed bottom"),
}
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (210, 35, 40), "orange": (245, 135, 35), "yellow": (245, 215, 50), "green": (50, 150, 70),
    "blue": (45, 95, 200), "purple": (130, 60, 165), "pink": (245, 140, 180), "brown": (125, 80, 45),
    "black": (30, 30, 33), "white": (246, 246, 244), "grey": (135, 138, 142),
}  # fmt: skip
PATTERNS: dict[str, tuple[str, ...]] = {
    "plain": ("one colour",),
    "striped": ("stripes", "parallel bands", "lines across"),
    "dotted": ("dots", "round spots", "small circles on it"),
    "checkered": ("a checkered pattern", "small squares on it", "a grid of squares"),
    "rimmed": ("a border", "a rim", "an outline of another colour"),
}
COUNTS = ("no", "one", "two", "three", "four")


def scene_caption(
    rng: Rng, count: int, shape: str, colour: str, second: str, pattern: str, where: str
) -> str:
    """One caption of a free scene: `count` shapes of a colour, `pattern` in the colour `second`."""
    noun = f"{pattern} {shape}"
    if pattern in ("plain", "rimmed") or rng.random() < 0.3:
        noun = shape
    if rng.random() < 0.8:
        noun = f"{colour} {noun}"
    if count == 1:
        shown = a(noun)
    elif noun.endswith("s"):
        shown = f"{COUNTS[count]} {noun}es"
    else:
        shown = f"{COUNTS[count]} {noun}s"
    detail = [*SHAPES[shape], *PATTERNS[pattern]]
    if pattern != "plain":
        marks = {"striped": "stripes", "dotted": "dots", "checkered": "squares", "rimmed": "rim"}[
            pattern
        ]
        alone = marks
        if marks == "rim":
            alone = f"a {second} rim"
        detail += [f"{second} {marks}", f"{colour} and {second} parts", alone]
    u = rng.random()
    if u < 0.3:
        text = pick(rng, WHICH).format(n=shown, f=facts(rng, detail, colour))
    elif u < 0.5:
        return pick(rng, NAMELESS).format(f=facts(rng, detail, colour))
    else:
        text = shown
        if where and rng.random() < 0.4:
            text = f"{shown} {where}"
    return pick(rng, PLAIN).format(text)


def words() -> list[str]:
    """Texts that together hold every word of these captions."""
    texts: list[str] = [
        *WORDS,
        *PLAIN,
        *WHICH,
        *NAMELESS,
        *LIKE,
        *SHAPES,
        *PATTERNS,
        *COLOURS,
        *COUNTS,
    ]
    for w in WORDS.values():
        texts += [*w.kinds, *w.synonyms, *w.facts, *w.alike]
    for thing in (*THINGS, *MORE):
        texts += [word for word, _ in thing.variants]
    for group in (*ON, *BESIDE, *SHAPES.values(), *PATTERNS.values()):
        texts += group
    texts += [
        "on the left right at the top bottom",
        "far away close up circles triangles squares stripes dots parts an",
    ]
    return texts
