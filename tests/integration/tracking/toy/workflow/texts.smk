# Phase texts.


rule text:
    input:
        outdated("text"),
        "data/{set}.txt",
    output:
        RESULTS + "/texts/{set}.json",
    benchmark:
        RESULTS + "/benchmarks/text/{set}.tsv"
    params:
        job=job("text"),
    shell:
        command("text")


rule texts:
    input:
        expand(RESULTS + "/texts/{set}.json", set=SETS),
