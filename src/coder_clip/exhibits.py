"""Names of the tables and figures, in the report's order; light, as the rules read it at every start."""

TABLES = (
    "zero_shot",
    "name_dose",
    "classes",
    "confusions",
    "candidates",
    "few_shot",
    "few_shot_paired",
    "hyperparameters",
    "text_kinds",
    "coverage",
    "feature_quality",
    "settings",
    "flaws",
    "published",
)
FIGURES = (
    "name_dose",
    "few_shot",
    "few_shot_ablations",
    "tsne",
    "correction",
    "text_count",
    "text_diversity",
    "coverage",
    "rerank_threshold",
    "rerank_pairs",
)
SHOW_IMAGES = ("correction", "rerank_pairs")  # figures that need the images, and not only results
