# Phase texts.


rule text:
    input:
        outdated(),
        "data/{set}.txt",
    output:
        RESULTS + "/texts/{set}.json",
    benchmark:
        RESULTS + "/benchmarks/text/{set}.tsv"
    params:
        job=job(),
    shell:
        certify("toy text --set {wildcards.set}")


rule texts:
    input:
        expand(RESULTS + "/texts/{set}.json", set=SETS),
