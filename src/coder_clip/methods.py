"""What the methods are called, in the order of tables and legends. Few-shot ones are made in `few_shot`."""

from __future__ import annotations

# In the order of the paper: baselines, stage one, stage two.
ZERO_SHOT = {
    "clip": "CLIP",
    "clip_ensemble": "CLIP, prompt ensemble",
    "clip_templates": "CLIP, 80 templates",
    "random_words": "CLIP, random words",
    "attributes_alone": "Attributes alone, no name",
    "description": "CLIP, attribute texts",
    "sentence": "CLIP, CuPL-style sentences",
    "coder": "CODER",
    "coder_rerank": "CODER + rerank",
}
FEW_SHOT = {
    "tip_adapter": "Tip-Adapter",
    "tip_x": "TIP-X",
    "ape": "APE",
    "gda": "GDA",
    "coder_adapter": "CODER-Adapter",
}
# The CODER-Adapter with one thing changed.
ABLATIONS = {
    "raw_adapter": "Adapter, raw features",
    "coder_no_minmax": "CODER-Adapter, no min-max",
    "coder_synonyms": "CODER-Adapter, with synonyms",
    "coder_half_texts": "CODER-Adapter, half the texts",
}
METHODS = {**ZERO_SHOT, **FEW_SHOT, **ABLATIONS}
USE_VIEWS = ("gda",)  # that need the augmented views of a shot one by one, not their mean
MOST_VIEWS = 10  # of these, as GDA is published; float16, so 20 kB a shot of 1024 channels
