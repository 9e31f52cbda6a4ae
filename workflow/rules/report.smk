# Phase report: tables, figures, the page. One job makes all tables, and one all figures, because a
# job for each would mostly start Python. Figures that show images have a separate job, because
# only they need the images.
from coder_clip.reporting.exhibits import FIGURES, TABLES

SHOW_IMAGES = [name for name, exhibit in FIGURES.items() if exhibit.shows_images]
DRAWN_FROM_RESULTS = [name for name in FIGURES if name not in SHOW_IMAGES]
TABLES_OF_RESULTS = [
    path
    for m in MODELS
    for d in DATASETS
    for path in (
        *(part(m, d) for part in (PATHS.zero_shot, PATHS.rerank) if d in WITH_TEXTS),
        PATHS.evaluation(m, d),
        *(PATHS.adapter(m, d, shots) for shots in SHOTS if d in FEW_SHOT),
    )
]
RESULTS = sorted(
    str(path.with_suffix(suffix))
    for path in TABLES_OF_RESULTS
    for suffix in (".parquet", ".json")
)
MANIFESTS = expand(PATHS.manifest("{dataset}"), dataset=DATASETS)
TEST_FEATURES = expand(
    PATHS.image_features("{model}", "{dataset}", "test"), model=MODELS, dataset=DATASETS
)

TEXT_FEATURES = expand(
    PATHS.text_features("{model}", "{dataset}"), model=MODELS, dataset=DATASETS
)


rule tables:
    input:
        outdated(),
        RESULTS,
        MANIFESTS,
        TEST_FEATURES,  # for the reasons of errors; they name the encoder
        TEXT_FEATURES,
        expand(PATHS.texts("{dataset}"), dataset=DATASETS),
    output:
        [
            file
            for n in TABLES
            for file in (
                shown(TABLES[n], PATHS.table(n, ".csv")),
                PATHS.table(n, ".md"),
                PATHS.table(n, ".tex"),
            )
        ],
    log:
        LOGS / "tables.log",
    benchmark:
        BENCHMARKS / "tables.tsv"
    localrule: on_head("tables")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        job=job(),
    message:
        "tables"
    shell:
        certify("coder-clip table")


rule figures_of_results:
    input:
        outdated(),
        RESULTS,
    output:
        drawn(FIGURES, DRAWN_FROM_RESULTS),
    log:
        LOGS / "figures_of_results.log",
    benchmark:
        BENCHMARKS / "figures_of_results.tsv"
    localrule: on_head("figures_of_results")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        job=job(),
        names=" ".join(DRAWN_FROM_RESULTS),
    message:
        "figures"
    shell:
        certify("coder-clip figure {params.names}")


rule figures_of_images:
    input:
        outdated(),
        RESULTS,
    output:
        drawn(FIGURES, SHOW_IMAGES),
    log:
        LOGS / "figures_of_images.log",
    benchmark:
        BENCHMARKS / "figures_of_images.tsv"
    localrule: on_head("figures_of_images")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        job=job(),
        names=" ".join(SHOW_IMAGES),
    message:
        "figures that show images"
    shell:
        certify("coder-clip figure {params.names}")


rule page:
    input:
        outdated(),
        RESULTS,
        MANIFESTS,
        expand(PATHS.texts("{dataset}"), dataset=DATASETS),
        expand(PATHS.one_to_one_texts("{dataset}"), dataset=WITH_TEXTS),
        # they name their encoder and the images that could not be read
        [
            PATHS.image_features(m, d, split)
            for m in MODELS
            for d in DATASETS
            for split in CONFIG.encoded(d)
        ],
        TEXT_FEATURES,
        rules.tables.output,
        figure_files(FIGURES),
    output:
        report(
            str(PATHS.report),
            category="The whole page",
            labels={"shows": "everything"},
        ),
        PATHS.metrics,
    log:
        LOGS / "report.log",
    benchmark:
        BENCHMARKS / "report.tsv"
    localrule: on_head("page")
    conda:
        ENVIRONMENT
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        job=job(),
    message:
        "report"
    shell:
        certify("coder-clip report")


rule figures:
    input:
        figure_files(FIGURES),


rule report_page:
    input:
        PATHS.report,
        PATHS.metrics,
