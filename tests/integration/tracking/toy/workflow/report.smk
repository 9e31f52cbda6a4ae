# Phase report.


rule page:
    input:
        scores=expand(RESULTS + "/scores/m/{set}.json", set=SETS),
        sources=["src/page.py", "src/common.py"],
    output:
        RESULTS + "/report.html",
        RESULTS + "/metrics.json",
        RESULTS + "/tables/main.csv",
    shell:
        command("page")


rule report_page:
    input:
        RESULTS + "/report.html",
        RESULTS + "/metrics.json",
