# 'snakemake smoke': a small job on each place that the profile names says what it finds there
# (docs/slurm.md). It is of no phase, and runs each time.
import time

# a new folder for each run; jobs on nodes get its name from the head
SMOKE = Path(
    ".snakemake/coder-clip/smoke",
    os.environ.setdefault("CODER_CLIP_SMOKE", str(time.time_ns())),
)


for _name, _place in smoke_places().items():

    rule:
        name:
            f"smoke_{_name}"
        output:
            temp(SMOKE / _name),
        log:
            LOGS / f"smoke/{_name}.log",
        retries: 0
        conda:
            ENVIRONMENT
        resources:
            **_place,
            mem_mb=2000,
            runtime=5,
        params:
            gpu="--gpu" if asks_for_gpu(_name) else "",
        message:
            f"smoke job, resources of {_name}"
        shell:
            "python -m coder_clip.preflight.smoke {params.gpu} > {output} 2> {log}"


rule smoke:
    input:
        [SMOKE / name for name in smoke_places()],
    log:
        LOGS / "smoke.log",
    localrule: True
    conda:
        ENVIRONMENT
    message:
        "jobs work on each place"
    shell:
        "cat {input} | tee {log}"
