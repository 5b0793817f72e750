# Trained networks for use outside the workflow, by the target `export`, and for its own library, by `train_shipped`.


rule export_model:
    input:
        weights=f"{RUN}/weights.safetensors",
    output:
        program=f"{RUN}/model.pt2",
        onnx=f"{RUN}/model.onnx",
        package=f"{RUN}/bioimage_model.zip",
    log:
        f"{RESULTS}/logs/export_model/{{dataset}}/{{model}}_{{modality}}_seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/export_model/{{dataset}}/{{model}}_{{modality}}_seed{{seed}}.tsv"
    conda:
        "../../envs/export.yaml"
    threads: 1
    resources:
        mem_mb=gigabytes(8),
        runtime=hours(1),
    params:
        about=about_of,
        code=code_of_model("export_model"),
    message:
        "Exporting {wildcards.model}, {wildcards.dataset}, {wildcards.modality}, seed {wildcards.seed}"
    script:
        "../scripts/export_model.py"


# As plates and folders of images use the model; the study scores it as the study says.
rule evaluate_model:
    input:
        weights=f"{RUN}/weights.safetensors",
        images=f"{RESULTS}/{{dataset}}/images.zarr",
        targets=f"{RESULTS}/{{dataset}}/targets.zarr",
        fields=f"{RESULTS}/{{dataset}}/fields.tsv",
        splits=f"{RESULTS}/{{dataset}}/splits.tsv",
    output:
        table=f"{RUN}/accuracy.tsv",
        summary=f"{RUN}/accuracy.md",
    log:
        f"{RESULTS}/logs/evaluate_model/{{dataset}}/{{model}}_{{modality}}_seed{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate_model/{{dataset}}/{{model}}_{{modality}}_seed{{seed}}.tsv"
    conda:
        "../../envs/evaluation.yaml"
    threads: 1
    resources:
        mem_mb=gigabytes(8),
        runtime=hours(2),
    params:
        code=code_of_model("evaluate_model"),
    message:
        "Evaluating {wildcards.model} as deployed, {wildcards.dataset}, {wildcards.modality}, seed {wildcards.seed}"
    script:
        "../scripts/evaluate_model.py"
