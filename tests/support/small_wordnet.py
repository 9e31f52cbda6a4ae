"""A WordNet of a few nouns, in the format of the real one."""

from __future__ import annotations

from pathlib import Path

LICENCE = "  1 This software is WordNet 3.0 Copyright 2006 by Princeton University.  \n"
SENSES = {  # lemma -> synsets (words, gloss), most frequent first
    "crane": [("crane", "lifts and moves heavy objects"), ("Crane Grus", "long-necked wading "
"bird; \"a crane\"")],
    "grus": [("Crane Grus", "long-necked wading bird; \"a crane\"")],
    "basset_hound": [("basset basset_hound", "breed of hound")],
    "knife": [("knife", "edge tool")],
    "goose": [("goose", "web-footed bird")],
    "laptop": [("laptop notebook", "portable computer")],
    "polka_dot": [("polka_dot spot", "design of dots")],
}  # fmt: skip


def write(folder: Path) -> Path:
    """The senses as WordNet's own files: an index with byte offsets into the definitions."""
    folder.mkdir(parents=True, exist_ok=True)
    data, offsets = LICENCE, {}
    for found in SENSES.values():
        for words, gloss in found:
            if words not in offsets:
                offsets[words] = len(data)
                each = " ".join(f"{w} 0" for w in words.split())
                data += (
                    f"{len(data):08d} 05 n {len(words.split()):02x} {each} 001 @ 00000001 n "
                    f"0000 | {gloss}  \n"
                )
    lines = [
        (
            f"{lemma} n {len(found)} 2 @ ~ {len(found)} 1 "
            f"{' '.join(f'{offsets[w]:08d}' for w, _ in found)}  \n"
        )
        for lemma, found in sorted(SENSES.items())
    ]
    (folder / "index.noun").write_text(LICENCE + "".join(lines))
    (folder / "data.noun").write_text(data)
    (folder / "noun.exc").write_text("geese goose\nknives knife\n")
    return folder
