# One GPU job per model, modality and seed, after one per model and modality where its learning rate is to be chosen.


rule choose_learning_rate:
    input:
        images=f"{RESULTS}/{{dataset}}/images.zarr",
        targets=f"{RESULTS}/{{dataset}}/targets.zarr",
        fields=f"{RESULTS}/{{dataset}}/fields.tsv",
        splits=f"{RESULTS}/{{dataset}}/splits.tsv",
    output:
        CHOICE,
    log:
        f"{RESULTS}/logs/choose_learning_rate/{{dataset}}/{{model}}_{{modality}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/choose_learning_rate/{{dataset}}/{{model}}_{{modality}}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: study.training["torch_threads"]
    resources:
        mem_mb=gigabytes(16),
        runtime=hours(8),
        gpu=GPUS,
    params:
        spec=spec_of,
        training=tuning_of,
        candidates=candidates_of,
        seed=study.seeds[0],
        subset=subset_of,
        code=code_of_model("choose_learning_rate"),
    message:
        "Choosing the learning rate of {wildcards.model} on the {wildcards.modality} images of {wildcards.dataset}"
    script:
        "../scripts/choose_learning_rate.py"


rule train_model:
    input:
        images=f"{RESULTS}/{{dataset}}/images.zarr",
        targets=f"{RESULTS}/{{dataset}}/targets.zarr",
        fields=f"{RESULTS}/{{dataset}}/fields.tsv",
        splits=f"{RESULTS}/{{dataset}}/splits.tsv",
        learning_rate=choice_of,
    output:
        weights=f"{RUN}/weights.safetensors",
        history=f"{RUN}/history.csv",
        run=f"{RUN}/run.json",
    log:
        f"{RESULTS}/logs/train_model/{{dataset}}/{{model}}_{{modality}}_seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_model/{{dataset}}/{{model}}_{{modality}}_seed{{seed}}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: study.training["torch_threads"]
    resources:
        mem_mb=gigabytes(16),
        runtime=hours(8),
        gpu=GPUS * study.training["devices"],
    params:
        spec=spec_of,
        training=training_of,
        subset=subset_of,
        code=code_of_model("train_model"),
    message:
        "Training {wildcards.model} on the {wildcards.modality} images of {wildcards.dataset}, seed {wildcards.seed}"
    script:
        "../scripts/train_model.py"
