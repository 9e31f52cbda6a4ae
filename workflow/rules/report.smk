# Phase report: tables, figures, the page.

# name -> phases whose results it shows, category in `snakemake --report`
TABLES = {
    "zero_shot": (["zero_shot", "rerank"], "Zero-shot"),
    "text_kinds": (["evaluation"], "Texts"),
    "few_shot": (["adapter"], "Few-shot"),
    "feature_quality": (["evaluation"], "Features"),
    "settings": (["zero_shot", "rerank", "adapter"], "Settings"),
}
FIGURES = {
    "few_shot": (["adapter"], "Few-shot"),
    "tsne": (["evaluation"], "Features"),
    "correction": (["evaluation"], "Features"),
    "text_count": (["evaluation"], "Texts"),
    "rerank_threshold": (["rerank"], "Zero-shot"),
    "rerank_pairs": (["rerank"], "Zero-shot"),
}


rule table:
    input:
        lambda w: results_of(TABLES[w.name][0]),
        sources=package_sources("phases.tables"),
    output:
        report(
            PATHS.table("{name}"),
            caption="../report/table_{name}.rst",
            category=lambda w: TABLES[w.name][1],
            labels={"what": "table {name}"},
        ),
        PATHS.table("{name}", ".md"),
        PATHS.table("{name}", ".tex"),
    log:
        LOGS / "tables/{name}.log",
    benchmark:
        BENCHMARKS / "tables/{name}.tsv"
    wildcard_constraints:
        name="|".join(TABLES),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        order=[DATASETS, MODELS, SHOTS, CONFIG.settings],
    message:
        "table {wildcards.name}"
    shell:
        "coder-clip table {wildcards.name} 2> {log}"


rule figure:
    input:
        lambda w: results_of(FIGURES[w.name][0]),
        image_sources,
        sources=package_sources("phases.figures"),
    output:
        report(
            PATHS.figure("{name}"),
            caption="../report/figure_{name}.rst",
            category=lambda w: FIGURES[w.name][1],
            labels={"what": "figure {name}"},
        ),
        PATHS.figure("{name}", ".pdf"),
    log:
        LOGS / "figures/{name}.log",
    benchmark:
        BENCHMARKS / "figures/{name}.tsv"
    wildcard_constraints:
        name="|".join(FIGURES),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        order=[DATASETS, MODELS, SHOTS, CONFIG.settings],
    message:
        "figure {wildcards.name}"
    shell:
        "coder-clip figure {wildcards.name} 2> {log}"


rule page:
    input:
        results_of(["zero_shot", "rerank", "adapter", "evaluation"]),
        expand(PATHS.manifest("{dataset}"), dataset=DATASETS),
        expand(PATHS.texts("{dataset}"), dataset=DATASETS),
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
        sorted(str(p) for p in Path("src/coder_clip/templates").iterdir()),
        sources=package_sources("phases.report"),
    output:
        PATHS.report,
        PATHS.metrics,
    log:
        LOGS / "report.log",
    benchmark:
        BENCHMARKS / "report.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        config=CONFIG.deciding(),
    message:
        "report"
    shell:
        "coder-clip report 2> {log}"


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
