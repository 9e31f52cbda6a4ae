"""Few-shot methods, the CODER-Adapter and its ablations too, and the zero-shot baselines.

One module per few-shot method (`methods` lists what it declares; `few_shot` defines its input and
output), their searches (`grid_search`), and the classifiers without shots (`zero_shot`).
"""

CLIP_ENSEMBLE = "clip_ensemble"  # what few-shot methods are compared with at zero shots
