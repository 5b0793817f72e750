# Models of the study trained on part of the training part: learning curves, and one cell line left out. The trainings
# themselves go through the rules of all models.


if study.subsets:

    localrules:
        list_subsets,

    # No input of a training, which would begin anew with every subset that is added. It runs as soon as the parts are
    # known, and so tells at once of a subset that cannot be made; a training of that one ends before it reads an image.
    rule list_subsets:
        input:
            fields=f"{RESULTS}/{{dataset}}/fields.tsv",
            splits=f"{RESULTS}/{{dataset}}/splits.tsv",
        output:
            subsets=SUBSETS,
        log:
            f"{RESULTS}/logs/list_subsets/{{dataset}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/list_subsets/{{dataset}}.tsv"
        priority: 1
        conda:
            "../../envs/dataset.yaml"
        threads: 1
        resources:
            mem_mb=gigabytes(1),
            runtime=10,
        params:
            modalities=dataset_setting("modalities"),
            subsets=study.subsets,
            seeds=study.seeds,
            code=code_of("list_subsets"),
        message:
            "Listing the subsets of the training part of {wildcards.dataset}"
        script:
            "../scripts/list_subsets.py"


if study.curve:

    rule aggregate_learning_curve:
        input:
            scores=of_every_run("scores.parquet", study.runs_of(study.curve)),
            subsets=SUBSETS,
        output:
            curve=table_output("learning_curve"),
            contrasts=table_output("learning_curve_contrasts"),
        log:
            f"{RESULTS}/logs/aggregate_learning_curve/{{dataset}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/aggregate_learning_curve/{{dataset}}.tsv"
        conda:
            "../../envs/statistics.yaml"
        threads: 1
        resources:
            mem_mb=gigabytes(4),
            runtime=30,
        params:
            points=study.curve,
            equivariant=study.equivariant,
            code=code_of("aggregate_learning_curve"),
        message:
            "Writing the learning curves of {wildcards.dataset}"
        script:
            "../scripts/aggregate_learning_curve.py"

    rule draw_learning_curve:
        input:
            curve=f"{RESULTS}/{{dataset}}/tables/learning_curve.tsv",
        output:
            pdf=f"{RESULTS}/{{dataset}}/figures/learning_curve.pdf",
            figure=figure_output("learning_curve"),
        log:
            f"{RESULTS}/logs/draw_learning_curve/{{dataset}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/draw_learning_curve/{{dataset}}.tsv"
        conda:
            "../../envs/figures.yaml"
        threads: 1
        resources:
            mem_mb=gigabytes(2),
            runtime=30,
        params:
            models=list(study.models),
            code=code_of("draw_learning_curve"),
        message:
            "Drawing the learning curves of {wildcards.dataset}"
        script:
            "../scripts/draw_learning_curve.py"


if study.left_out:

    rule aggregate_left_out:
        input:
            scores=of_every_run("scores.parquet", study.runs_of(study.left_out)),
        output:
            left_out=table_output("leave_one_cell_line_out"),
        log:
            f"{RESULTS}/logs/aggregate_left_out/{{dataset}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/aggregate_left_out/{{dataset}}.tsv"
        conda:
            "../../envs/statistics.yaml"
        threads: 1
        resources:
            mem_mb=gigabytes(4),
            runtime=30,
        params:
            points=study.left_out,
            equivariant=study.equivariant,
            code=code_of("aggregate_left_out"),
        message:
            "Comparing the models of {wildcards.dataset} trained with and without each cell line"
        script:
            "../scripts/aggregate_left_out.py"

    rule draw_left_out:
        input:
            left_out=f"{RESULTS}/{{dataset}}/tables/leave_one_cell_line_out.tsv",
        output:
            pdf=f"{RESULTS}/{{dataset}}/figures/leave_one_cell_line_out.pdf",
            figure=figure_output("leave_one_cell_line_out"),
        log:
            f"{RESULTS}/logs/draw_left_out/{{dataset}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/draw_left_out/{{dataset}}.tsv"
        conda:
            "../../envs/figures.yaml"
        threads: 1
        resources:
            mem_mb=gigabytes(2),
            runtime=30,
        params:
            models=list(study.models),
            code=code_of("draw_left_out"),
        message:
            "Drawing the models of {wildcards.dataset} trained with and without each cell line"
        script:
            "../scripts/draw_left_out.py"
