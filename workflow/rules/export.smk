# Trained networks for use outside the workflow; on demand, by the target `export`.


rule export_model:
    input:
        weights=f"{RUN}/weights.safetensors",
    output:
        program=f"{RUN}/model.pt2",
        onnx=f"{RUN}/model.onnx",
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
        code=code_of_model("export_model"),
    message:
        "Exporting {wildcards.model}, {wildcards.dataset}, {wildcards.modality}, seed {wildcards.seed}"
    script:
        "../../scripts/export_model.py"
