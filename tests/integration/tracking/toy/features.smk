# Phase features.


rule feature:
    input:
        "results/texts/{set}.json",
        "data/weights.bin",
        sources=["src/feature.py", "src/common.py"],
    output:
        "results/features/m/{set}.bin",
    params:
        scale=CONFIG["scale"],
    shell:
        "python src/feature.py {input[0]} {output} {params.scale}"


rule features:
    input:
        expand("results/features/m/{set}.bin", set=SETS),
