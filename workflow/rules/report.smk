# Figures of a study, and the record of what it was made from.


rule draw_figures:
    input:
        f1=f"{RESULTS}/{{dataset}}/tables/f1.tsv",
        difference=f"{RESULTS}/{{dataset}}/tables/f1_difference.tsv",
        differences=f"{RESULTS}/{{dataset}}/tables/f1_differences.parquet",
        scores=of_every_run("scores.parquet"),
        otsu=otsu_scores,
        histories=of_every_run("history.csv"),
        runs=of_every_run("run.json"),
        examples=of_every_run("examples.npz"),
    output:
        f1_pdf=f"{RESULTS}/{{dataset}}/figures/f1.pdf",
        f1=report(
            f"{RESULTS}/{{dataset}}/figures/f1.png",
            caption="../report/f1_bars.rst",
            category="{dataset}",
            subcategory="Figures",
        ),
        difference_pdf=f"{RESULTS}/{{dataset}}/figures/f1_difference.pdf",
        difference=report(
            f"{RESULTS}/{{dataset}}/figures/f1_difference.png",
            caption="../report/f1_difference_boxes.rst",
            category="{dataset}",
            subcategory="Figures",
        ),
        curves_pdf=f"{RESULTS}/{{dataset}}/figures/training_curves.pdf",
        curves=report(
            f"{RESULTS}/{{dataset}}/figures/training_curves.png",
            caption="../report/training_curves.rst",
            category="{dataset}",
            subcategory="Figures",
        ),
        contours=report(
            directory(f"{RESULTS}/{{dataset}}/figures/contours"),
            patterns=["{name}.png"],
            caption="../report/contours.rst",
            category="{dataset}",
            subcategory="Examples",
        ),
    log:
        f"{RESULTS}/logs/draw_figures/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_figures/{{dataset}}.tsv"
    conda:
        "../../envs/figures.yaml"
    threads: 1
    resources:
        mem_mb=gigabytes(4),
        runtime=30,
    params:
        models=list(study.models),
        code=code_of("draw_figures"),
    message:
        "Drawing the figures of {wildcards.dataset}"
    script:
        "../../scripts/draw_figures.py"


rule record_provenance:
    input:
        source=study.source_record("{dataset}"),
        fields=f"{RESULTS}/{{dataset}}/fields.tsv",
        splits=f"{RESULTS}/{{dataset}}/splits.tsv",
        images=f"{RESULTS}/{{dataset}}/images.zarr",
        annotations=f"{RESULTS}/{{dataset}}/annotations.zarr",
        targets=f"{RESULTS}/{{dataset}}/targets.zarr",
        learning_rates=choices,
        weights=of_every_run("weights.safetensors", ALL_RUNS),
        histories=of_every_run("history.csv", ALL_RUNS),
        runs=of_every_run("run.json", ALL_RUNS),
        scores=of_every_run("scores.parquet", ALL_RUNS),
        otsu=otsu_scores,
        tables=[f"{RESULTS}/{{dataset}}/tables/{name}.tsv" for name in ALL_TABLES],
        subsets=SUBSETS if study.subsets else [],
        summary=f"{RESULTS}/{{dataset}}/tables/summary.txt",
    output:
        provenance=f"{RESULTS}/{{dataset}}/tables/provenance.json",
    log:
        f"{RESULTS}/logs/record_provenance/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/record_provenance/{{dataset}}.tsv"
    conda:
        "../../envs/statistics.yaml"
    threads: 1
    resources:
        mem_mb=gigabytes(1),
        runtime=30,
    params:
        folder=dataset_folder,
        config=resolved_config,
        rules=code_of_everything,
        code=code_of("record_provenance"),
    message:
        "Recording what the results of {wildcards.dataset} were made from"
    script:
        "../../scripts/record_provenance.py"
