# Phase report: tables, figures, the page.

# name -> phases whose results it shows, category in `snakemake --report`; one rule each, for its own caption, which
# `python -m coder_clip.captions` writes, and its own sources: an edit of one makes that one again
TABLES = {
    "zero_shot": (["zero_shot", "rerank"], "Zero-shot"),
    "name_dose": (["zero_shot", "rerank"], "Zero-shot"),
    "classes": (["zero_shot", "rerank"], "Zero-shot"),
    "confusions": (["zero_shot", "rerank"], "Zero-shot"),
    "candidates": (["rerank"], "Zero-shot"),
    "text_kinds": (["evaluation"], "Texts"),
    "coverage": (["rerank"], "Texts"),
    "few_shot": (["adapter"], "Few-shot"),
    "few_shot_paired": (["adapter"], "Few-shot"),
    "hyperparameters": (["adapter"], "Few-shot"),
    "feature_quality": (["evaluation"], "Features"),
    "settings": (["zero_shot", "rerank", "adapter"], "Settings"),
    "flaws": (["rerank", "adapter"], "Settings"),
    "published": (["zero_shot", "rerank", "adapter"], "Published figures"),
}
FIGURES = {
    "name_dose": (["zero_shot", "rerank"], "Zero-shot"),
    "few_shot": (["adapter"], "Few-shot"),
    "few_shot_ablations": (["adapter"], "Few-shot"),
    "tsne": (["evaluation"], "Features"),
    "correction": (["evaluation", "zero_shot"], "Features"),
    "text_count": (["evaluation"], "Texts"),
    "text_diversity": (["evaluation"], "Texts"),
    "coverage": (["rerank"], "Texts"),
    "rerank_threshold": (["rerank"], "Zero-shot"),
    "rerank_pairs": (["rerank"], "Zero-shot"),
}
SHOW_IMAGES = ["correction", "rerank_pairs"]


for name, (phases, category) in TABLES.items():

    rule:
        name:
            f"table_{name}"
        input:
            results_of(phases),
            described(name),
            sources=package_sources("phases.tables", f"tables.{name}"),
        output:
            report(
                PATHS.table(name),
                caption=f"../report/table_{name}.rst",
                category=category,
                labels={"what": f"table {name}"},
            ),
            PATHS.table(name, ".md"),
            PATHS.table(name, ".tex"),
        log:
            LOGS / f"tables/{name}.log",
        benchmark:
            BENCHMARKS / f"tables/{name}.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            name=name,
            reads=reads("table"),
            left_out=CONFIG.left_out,
        message:
            f"table {name}"
        shell:
            command("table")


for name, (phases, category) in FIGURES.items():

    rule:
        name:
            f"figure_{name}"
        input:
            results_of(phases),
            image_sources if name in SHOW_IMAGES else [],
            sources=package_sources("phases.figures", f"figures.{name}"),
        output:
            report(
                PATHS.figure(name),
                caption=f"../report/figure_{name}.rst",
                category=category,
                labels={"what": f"figure {name}"},
            ),
            PATHS.figure(name, ".pdf"),
        log:
            LOGS / f"figures/{name}.log",
        benchmark:
            BENCHMARKS / f"figures/{name}.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            name=name,
            reads=reads("figure"),
            left_out=CONFIG.left_out,
        message:
            f"figure {name}"
        shell:
            command("figure")


rule page:
    input:
        results_of(["zero_shot", "rerank", "adapter", "evaluation"]),
        expand(PATHS.manifest("{dataset}"), dataset=DATASETS),
        expand(PATHS.texts("{dataset}"), dataset=DATASETS),
        expand(PATHS.one_to_one_texts("{dataset}"), dataset=DATASETS),
        # for what made them, and which images could not be read
        [
            PATHS.image_features(m, d, split)
            for m in MODELS
            for d in DATASETS
            for split in CONFIG.encoded(d)
        ],
        expand(
            PATHS.text_features("{model}", "{dataset}"), model=MODELS, dataset=DATASETS
        ),
        expand(
            PATHS.table("{name}", "{suffix}"),
            name=TABLES,
            suffix=[".csv", ".md", ".tex"],
        ),
        expand(
            PATHS.figure("{name}", "{suffix}"),
            name=FIGURES,
            suffix=[".png", ".pdf"],
        ),
        sorted(map(str, Path("src/coder_clip/templates").glob("report.*"))),
        sources=package_sources(
            "phases.report",
            *(f"tables.{name}" for name in TABLES),
            *(f"figures.{name}" for name in FIGURES),
        ),
    output:
        PATHS.report,
        PATHS.metrics,
    log:
        LOGS / "report.log",
    benchmark:
        BENCHMARKS / "report.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        reads=reads("page"),
        left_out=CONFIG.left_out,
    message:
        "report"
    shell:
        command("page")


rule tables:
    input:
        expand(PATHS.table("{name}"), name=TABLES),


rule figures:
    input:
        expand(PATHS.figure("{name}"), name=FIGURES),


rule report_page:
    input:
        PATHS.report,
        PATHS.metrics,
