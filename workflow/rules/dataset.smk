# From a source of images and masks to OME-Zarr stacks, parts and training targets.


localrules:
    split_dataset,


rule simulate_dataset:
    output:
        source=directory(f"{RESULTS}/{{dataset}}/source"),
    log:
        f"{RESULTS}/logs/simulate_dataset/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/simulate_dataset/{{dataset}}.tsv"
    conda:
        "../../envs/simulation.yaml"
    threads: 4
    resources:
        mem_mb=gigabytes(4),
        runtime=hours(1),
    params:
        simulation=dataset_setting("source"),
        mask=dataset_setting("mask"),
        code=code_of("simulate_dataset"),
    message:
        "Simulating the data set {wildcards.dataset}"
    script:
        "../scripts/simulate_dataset.py"


rule convert_dataset:
    input:
        simulated=source_folder,
    output:
        images=directory(f"{RESULTS}/{{dataset}}/images.zarr"),
        annotations=directory(f"{RESULTS}/{{dataset}}/annotations.zarr"),
        fields=f"{RESULTS}/{{dataset}}/fields.tsv",
        record=study.source_record("{dataset}"),
    log:
        f"{RESULTS}/logs/convert_dataset/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/convert_dataset/{{dataset}}.tsv"
    conda:
        "../../envs/dataset.yaml"
    threads: 4
    resources:
        mem_mb=gigabytes(4),
        runtime=hours(2),
    params:
        source=source_of,
        source_state=source_state,
        pixel_size=dataset_setting("pixel_size"),
        code=code_of("convert_dataset"),
    message:
        "Converting the images and masks of {wildcards.dataset} to OME-Zarr"
    script:
        "../scripts/convert_dataset.py"


rule split_dataset:
    input:
        fields=f"{RESULTS}/{{dataset}}/fields.tsv",
    output:
        splits=f"{RESULTS}/{{dataset}}/splits.tsv",
        checksum=f"{RESULTS}/{{dataset}}/splits.tsv.sha256",
    log:
        f"{RESULTS}/logs/split_dataset/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/split_dataset/{{dataset}}.tsv"
    conda:
        "../../envs/dataset.yaml"
    threads: 1
    resources:
        mem_mb=gigabytes(1),
        runtime=10,
    params:
        sizes=dataset_setting("split"),
        seed=study.split_seed,
        code=code_of("split_dataset"),
    message:
        "Splitting {wildcards.dataset} into train, val and test"
    script:
        "../scripts/split_dataset.py"


rule binarize_masks:
    input:
        annotations=f"{RESULTS}/{{dataset}}/annotations.zarr",
        fields=f"{RESULTS}/{{dataset}}/fields.tsv",
    output:
        targets=directory(f"{RESULTS}/{{dataset}}/targets.zarr"),
    log:
        f"{RESULTS}/logs/binarize_masks/{{dataset}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/binarize_masks/{{dataset}}.tsv"
    conda:
        "../../envs/dataset.yaml"
    threads: 4
    resources:
        mem_mb=gigabytes(4),
        runtime=hours(1),
    params:
        mask=dataset_setting("mask"),
        code=code_of("binarize_masks"),
    message:
        "Deriving training targets from the masks of {wildcards.dataset}"
    script:
        "../scripts/binarize_masks.py"
