# Phase report.


rule page:
    input:
        outdated(),
        expand(RESULTS + "/scores/m/{set}.json", set=SETS),
    output:
        RESULTS + "/report.html",
        RESULTS + "/metrics.json",
        RESULTS + "/tables/main.csv",
    params:
        job=job(),
    shell:
        certify("toy page")


rule report_page:
    input:
        RESULTS + "/report.html",
        RESULTS + "/metrics.json",
