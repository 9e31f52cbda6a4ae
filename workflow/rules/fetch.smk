# Download, beside other work, what may be downloaded (fetch: true, or FETCH=1). A job that needs it
# waits here and gets no additional input: what was downloaded, and where it is, is not part of a
# result.
FETCHED = Path(".snakemake/coder-clip/fetched")
TO_FETCH = to_fetch()
# a Snakefile that is only planned, as at the end of a run, must not forget what that run could not
# download
if workflow.is_main_process and plan.PLAN not in os.environ:
    forget_fetched(FETCHED)


checkpoint fetch_images:
    output:
        FETCHED / "images/{dataset}",
    log:
        LOGS / "fetch/{dataset}.log",
    localrule: True  # where the network is
    conda:
        ENVIRONMENT
    params:
        # a note for `make reproduce`, which goes on without this data set
        failed=FETCHED / ("stopped" if CONFIG.fetch == "strict" else "failed"),
    message:
        "download {wildcards.dataset}"
    shell:
        "coder-clip data get {wildcards.dataset} --config $CODER_CLIP_CONFIG 2>&1 "
        "| tee {log} && touch {output}"
        " || {{ mkdir -p {params.failed} "
        "&& cp {log} {params.failed}/{wildcards.dataset}; exit 1; }}"


checkpoint fetch_weights:
    output:
        FETCHED / "weights/{model}",
    log:
        LOGS / "fetch/{model}.log",
    localrule: True  # where the network is
    conda:
        ENVIRONMENT
    params:
        note=lambda w: weights_note(w.model),
    message:
        "download the weights of {wildcards.model}"
    shell:
        # the hub shows its progress on terminals alone, unless told so
        "TQDM_POSITION=-1 TQDM_MININTERVAL=10 coder-clip prefetch --model {wildcards.model} "
        "2>&1 | tee {log} && printf %s {params.note:q} > {output}"


def fetched_images(wildcards):
    """Wait for the images of a data set, where this run downloads them."""
    if wildcards.dataset in TO_FETCH:
        checkpoints.fetch_images.get(dataset=wildcards.dataset)
    return []


def fetched_weights(wildcards):
    """The same for the weights of a model, or of those that compare texts."""
    names = (
        [wildcards.model]
        if "model" in wildcards.keys()
        else [CONFIG.text_encoder()] * CONFIG.compares_names(wildcards.dataset)
    )
    for name in names:
        if CONFIG.fetch and not CONFIG.models[name].files:
            checkpoints.fetch_weights.get(model=name)
    return []
