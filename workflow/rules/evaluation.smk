# Predictions of the scored part and its rotations, scored against the truth.

# On a cluster one job predicts with a model and scores what it predicted: either takes seconds. It asks for the larger
# memory of both, a GPU if the predictions need one, and the time of both; repeated, it does both again.
SCORED = "{dataset}_{model}_{modality}_seed{seed}"


rule predict_test:
    input:
        weights=f"{RUN}/weights.safetensors",
        images=f"{RESULTS}/{{dataset}}/images.zarr",
        targets=f"{RESULTS}/{{dataset}}/targets.zarr",
        fields=f"{RESULTS}/{{dataset}}/fields.tsv",
        splits=f"{RESULTS}/{{dataset}}/splits.tsv",
    output:
        predictions=directory(f"{RUN}/predictions.zarr"),
        index=f"{RUN}/predictions.tsv",
        examples=f"{RUN}/examples.npz",
    log:
        f"{RESULTS}/logs/predict_test/{{dataset}}/{{model}}_{{modality}}_seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/predict_test/{{dataset}}/{{model}}_{{modality}}_seed{{seed}}.tsv"
    group:
        SCORED
    conda:
        "../../envs/prediction.yaml"
    threads: study.training["torch_threads"]
    resources:
        mem_mb=gigabytes(8),
        runtime=hours(2, of_group=3),
        gpu=GPUS,
    params:
        **({"moves": moves_of} if MOVES else {}),  # a parameter more would make what a study has predicted stale
        mirrored=study.evaluation["mirrored"],
        inferences=inferences_of,
        examples=study.evaluation["examples"],
        device=study.training["device"],
        torch_threads=study.training["torch_threads"],
        code=code_of_model("predict_test"),
    message:
        "Predicting the rotated images of {wildcards.dataset} with {wildcards.model}, {wildcards.modality}, seed {wildcards.seed}"
    script:
        "../scripts/predict_test.py"


rule score_test:
    input:
        predictions=f"{RUN}/predictions.zarr",
        index=f"{RUN}/predictions.tsv",
        targets=f"{RESULTS}/{{dataset}}/targets.zarr",
        fields=f"{RESULTS}/{{dataset}}/fields.tsv",
        splits=f"{RESULTS}/{{dataset}}/splits.tsv",
    output:
        scores=f"{RUN}/scores.parquet",
        crop_scores=f"{RUN}/crop_scores.parquet",
    log:
        f"{RESULTS}/logs/score_test/{{dataset}}/{{model}}_{{modality}}_seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/score_test/{{dataset}}/{{model}}_{{modality}}_seed{{seed}}.tsv"
    group:
        SCORED
    conda:
        "../../envs/scoring.yaml"
    threads: 1
    resources:
        mem_mb=gigabytes(4),
        runtime=hours(1, of_group=3),
    params:
        instances=instances_of,
        mask=dataset_setting("mask"),
        code=code_of("score_test"),
    message:
        "Scoring {wildcards.model} on the {wildcards.modality} images of {wildcards.dataset}, seed {wildcards.seed}"
    script:
        "../scripts/score_test.py"


# A job has one partition, GPU type and so on: what the profile sets for the predictions holds for their scores too.
for name, resource in workflow.get_rule("predict_test").resources.items():
    if name not in ("mem_mb", "mem", "runtime", "gpu", "tmpdir", "_cores", "_nodes"):
        workflow.get_rule("score_test").resources[name] = resource


rule score_otsu:
    input:
        images=f"{RESULTS}/{{dataset}}/images.zarr",
        targets=f"{RESULTS}/{{dataset}}/targets.zarr",
        fields=f"{RESULTS}/{{dataset}}/fields.tsv",
        splits=f"{RESULTS}/{{dataset}}/splits.tsv",
    output:
        scores=f"{RESULTS}/{{dataset}}/{OTSU}/{{modality}}/scores.parquet",
    log:
        f"{RESULTS}/logs/score_otsu/{{dataset}}_{{modality}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/score_otsu/{{dataset}}_{{modality}}.tsv"
    conda:
        "../../envs/scoring.yaml"
    threads: 1
    resources:
        mem_mb=gigabytes(4),
        runtime=hours(1),
    params:
        mirrored=study.evaluation["mirrored"],
        code=code_of("score_otsu"),
    message:
        "Scoring Otsu's threshold on the {wildcards.modality} images of {wildcards.dataset}"
    script:
        "../scripts/score_otsu.py"


rule aggregate_f1:
    input:
        scores=of_every_run("scores.parquet"),
        crop_scores=of_every_run("crop_scores.parquet"),
        runs=of_every_run("run.json"),
        otsu=otsu_scores,
    output:
        tables=[table_output(name) for name in TABLES],
        differences=[
            f"{RESULTS}/{{dataset}}/tables/{name}.parquet" for name in ("f1_differences", "f1_differences_crops")
        ],
        summary=f"{RESULTS}/{{dataset}}/tables/summary.txt",
    log:
        f"{RESULTS}/logs/aggregate_f1/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/aggregate_f1/{{dataset}}.tsv"
    conda:
        "../../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=gigabytes(4),
        runtime=30,
    params:
        models=list(study.models),
        twins=study.twins,
        contrasts=study.contrasts,
        equivariant=study.equivariant,
        code=code_of("aggregate_f1"),
    message:
        "Writing the tables of {wildcards.dataset}"
    script:
        "../scripts/aggregate_f1.py"
