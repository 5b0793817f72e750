# Figures of a study, the record of what it was made from, and its page.


rule draw_figures:
    input:
        f1=f"{RESULTS}/{{dataset}}/tables/f1.tsv",
        difference=f"{RESULTS}/{{dataset}}/tables/f1_difference.tsv",
        difference_crops=f"{RESULTS}/{{dataset}}/tables/f1_difference_crops.tsv",
        reduction=f"{RESULTS}/{{dataset}}/tables/difference_reduction.tsv",
        by_cell_line=f"{RESULTS}/{{dataset}}/tables/f1_by_cell_line.tsv",
        by_threshold=f"{RESULTS}/{{dataset}}/tables/f1_by_threshold.tsv",
        contrasts=f"{RESULTS}/{{dataset}}/tables/contrasts.tsv",
        differences=f"{RESULTS}/{{dataset}}/tables/f1_differences.parquet",
        differences_crops=f"{RESULTS}/{{dataset}}/tables/f1_differences_crops.parquet",
        scores=of_every_run("scores.parquet"),
        otsu=otsu_scores,
        histories=of_every_run("history.csv"),
        runs=of_every_run("run.json"),
        examples=of_every_run("examples.npz"),
    output:
        png=[figure_output(name) for name in FIGURES],
        pdf=[f"{RESULTS}/{{dataset}}/figures/{name}.pdf" for name in FIGURES],
        galleries=[gallery_output(name) for name in GALLERIES],
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
        "../scripts/draw_figures.py"


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
        crop_scores=of_every_run("crop_scores.parquet"),
        otsu=otsu_scores,
        moved=moved_scores if MOVES else [],
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
        "../scripts/record_provenance.py"


rule report_study:
    input:
        tables=[f"{RESULTS}/{{dataset}}/tables/{name}.tsv" for name in ALL_TABLES],
        figures=[f"{RESULTS}/{{dataset}}/figures/{name}.png" for name in ALL_FIGURES],
        galleries=[f"{RESULTS}/{{dataset}}/figures/{name}" for name in GALLERIES],
        provenance=f"{RESULTS}/{{dataset}}/tables/provenance.json",
        fields=f"{RESULTS}/{{dataset}}/fields.tsv",
        splits=f"{RESULTS}/{{dataset}}/splits.tsv",
        runs=of_every_run("run.json"),
    output:
        page=report(
            f"{RESULTS}/{{dataset}}/report.html",
            caption="../report/page.rst",
            category="{dataset}",
            subcategory="Page",
            labels={"page": "Answer, figures, tables and settings"},
        ),
    log:
        f"{RESULTS}/logs/report_study/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/report_study/{{dataset}}.tsv"
    conda:
        "../../envs/plates.yaml"
    threads: 1
    resources:
        mem_mb=gigabytes(2),
        runtime=30,
    params:
        tables=captions("tables", ALL_TABLES),
        figures=captions("figures", ALL_FIGURES),
        galleries=captions("figures", GALLERIES),
        code=code_of("report_study"),
        templates=templates_digest(),
    message:
        "Writing the page of {wildcards.dataset}"
    script:
        "../scripts/report_study.py"
