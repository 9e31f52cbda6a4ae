# Phase report: tables, figures, the page. All tables are one job, as are all figures: most of the time of one alone would
# be the start of Python. Figures that show images are a job of their own, as only they need the images.
from coder_clip.reporting.exhibits import EXHIBITS, FIGURES, TABLES

SHOW_IMAGES = [name for name, exhibit in FIGURES.items() if exhibit.shows_images]
DRAWN_FROM_RESULTS = [name for name in FIGURES if name not in SHOW_IMAGES]
# labels and lines of the methods are read from their modules
METHOD_FILES = sorted(map(str, Path("src/coder_clip/baselines").glob("*.py")))
RESULTS = results_of(["zero_shot", "rerank", "adapter", "evaluation"])
MANIFESTS = expand(PATHS.manifest("{dataset}"), dataset=DATASETS)
ORDER = [DATASETS, MODELS, SHOTS, CONFIG.settings, *CONFIG.left_out]
TEST_FEATURES = expand(
    PATHS.image_features("{model}", "{dataset}", "test"), model=MODELS, dataset=DATASETS
)


rule tables:
    input:
        RESULTS,
        MANIFESTS,
        TEST_FEATURES,  # which encoder made them: published numbers are of one
        published_numbers(),
        METHOD_FILES,
        sources=exhibit_sources("phases.tables", TABLES),
    output:
        [PATHS.table(n, suffix) for n in TABLES for suffix in (".csv", ".md", ".tex")],
    log:
        LOGS / "tables.log",
    benchmark:
        BENCHMARKS / "tables.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        order=ORDER,
    message:
        "tables"
    shell:
        COMMANDS["report"]["tables"]


rule figures_of_results:
    input:
        RESULTS,
        METHOD_FILES,
        sources=exhibit_sources("phases.figures", DRAWN_FROM_RESULTS),
    output:
        figure_files(DRAWN_FROM_RESULTS),
    log:
        LOGS / "figures_of_results.log",
    benchmark:
        BENCHMARKS / "figures_of_results.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        order=ORDER,
        names=" ".join(DRAWN_FROM_RESULTS),
    message:
        "figures"
    shell:
        COMMANDS["report"]["figures_of_results"]


rule figures_of_images:
    input:
        RESULTS,
        image_sources,
        METHOD_FILES,
        sources=exhibit_sources("phases.figures", SHOW_IMAGES),
    output:
        figure_files(SHOW_IMAGES),
    log:
        LOGS / "figures_of_images.log",
    benchmark:
        BENCHMARKS / "figures_of_images.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        order=ORDER,
        names=" ".join(SHOW_IMAGES),
    message:
        "figures that show images"
    shell:
        COMMANDS["report"]["figures_of_images"]


rule page:
    input:
        RESULTS,
        MANIFESTS,
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
        rules.tables.output,
        figure_files(FIGURES),
        sorted(map(str, Path("src/coder_clip/templates").glob("report.*"))),
        METHOD_FILES,
        sources=exhibit_sources("phases.report", [e.name for e in EXHIBITS]),
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
        config=CONFIG.deciding(),
    message:
        "report"
    shell:
        COMMANDS["report"]["page"]


rule figures:
    input:
        figure_files(FIGURES),


rule report_page:
    input:
        PATHS.report,
        PATHS.metrics,
