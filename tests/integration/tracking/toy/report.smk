# Phase report.


rule page:
    input:
        scores=expand("results/scores/m/{set}.json", set=SETS),
        sources=["src/page.py", "src/common.py"],
    output:
        "results/report.html",
        "results/metrics.json",
        "results/tables/main.csv",
    shell:
        "python src/page.py {output} {input.scores}"


rule report_page:
    input:
        "results/report.html",
        "results/metrics.json",
