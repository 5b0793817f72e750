# Images between the quarter turns, and shifted, where the configuration asks for them. `predict_test` predicts them.


if MOVES:

    rule score_moves:
        input:
            predictions=f"{RUN}/predictions.zarr",
            index=f"{RUN}/predictions.tsv",
            targets=f"{RESULTS}/{{dataset}}/targets.zarr",
            fields=f"{RESULTS}/{{dataset}}/fields.tsv",
            splits=f"{RESULTS}/{{dataset}}/splits.tsv",
        output:
            scores=f"{RUN}/turns_and_shifts.parquet",
        log:
            f"{RESULTS}/logs/score_moves/{{dataset}}/{{model}}_{{modality}}_seed{{seed}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/score_moves/{{dataset}}/{{model}}_{{modality}}_seed{{seed}}.tsv"
        conda:
            "../../envs/scoring.yaml"
        threads: 1
        resources:
            mem_mb=gigabytes(4),
            runtime=hours(1),
        params:
            instances=instances_of,
            mask=dataset_setting("mask"),
            code=code_of("score_moves"),
        message:
            "Scoring {wildcards.model} on moved {wildcards.modality} images of {wildcards.dataset}, seed {wildcards.seed}"
        script:
            "../scripts/score_moves.py"

    rule score_otsu_moves:
        input:
            images=f"{RESULTS}/{{dataset}}/images.zarr",
            targets=f"{RESULTS}/{{dataset}}/targets.zarr",
            fields=f"{RESULTS}/{{dataset}}/fields.tsv",
            splits=f"{RESULTS}/{{dataset}}/splits.tsv",
        output:
            scores=f"{RESULTS}/{{dataset}}/{OTSU}/{{modality}}/turns_and_shifts.parquet",
        log:
            f"{RESULTS}/logs/score_otsu_moves/{{dataset}}_{{modality}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/score_otsu_moves/{{dataset}}_{{modality}}.tsv"
        conda:
            "../../envs/scoring.yaml"
        threads: 1
        resources:
            mem_mb=gigabytes(4),
            runtime=hours(1),
        params:
            code=code_of("score_otsu_moves"),
        message:
            "Scoring Otsu's threshold on moved {wildcards.modality} images of {wildcards.dataset}"
        script:
            "../scripts/score_otsu_moves.py"

    rule aggregate_moves:
        input:
            moved=moved_scores,
            scores=of_every_run("scores.parquet"),
            otsu=otsu_scores,
        output:
            table=table_output("turns_and_shifts"),
        log:
            f"{RESULTS}/logs/aggregate_moves/{{dataset}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/aggregate_moves/{{dataset}}.tsv"
        conda:
            "../../envs/statistics.yaml"
        threads: 1
        resources:
            mem_mb=gigabytes(4),
            runtime=30,
        params:
            models=list(study.models),
            twins=study.twins,
            code=code_of("aggregate_moves"),
        message:
            "Comparing the scores of moved images of {wildcards.dataset}"
        script:
            "../scripts/aggregate_moves.py"

    rule draw_moves:
        input:
            table=f"{RESULTS}/{{dataset}}/tables/turns_and_shifts.tsv",
        output:
            pdf=f"{RESULTS}/{{dataset}}/figures/turns_and_shifts.pdf",
            figure=figure_output("turns_and_shifts"),
        log:
            f"{RESULTS}/logs/draw_moves/{{dataset}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/draw_moves/{{dataset}}.tsv"
        conda:
            "../../envs/figures.yaml"
        threads: 1
        resources:
            mem_mb=gigabytes(2),
            runtime=30,
        params:
            models=list(study.models),
            code=code_of("draw_moves"),
        message:
            "Drawing the differences of moved images of {wildcards.dataset}"
        script:
            "../scripts/draw_moves.py"
