# From a microscope's folder to nuclei, tables and a page: plate by plate.


localrules:
    scan_plates,
    compare_plates,


# `autorun.sh` forces it in a call of its own, and the manifests that it writes beside scan.tsv decide what the next call
# makes. Manifests and scan.tsv are written only when their content changes, and a manifest is never deleted.
rule scan_plates:
    output:
        scan=update(f"{PLATES}/scan.tsv"),  # compared with the scan before: not deleted first
    log:
        f"{PLATES}/logs/scan_plates.log",
    benchmark:
        f"{PLATES}/benchmarks/scan_plates.tsv"
    conda:
        "../../envs/plates.yaml"
    threads: 1
    resources:
        mem_mb=gigabytes(2),
        runtime=60,
    params:
        section=study.plates.section,
    message:
        "Looking for complete plates"
    script:
        "../scripts/scan_plates.py"


rule convert_plate:
    input:
        manifest=f"{PLATES}/manifests/{{plate}}.json",
    output:
        plate=directory(f"{PLATES}/{{plate}}/plate.ome.zarr"),
        fields=f"{PLATES}/{{plate}}/fields.parquet",
        # No input of other rules, which read it all the same: plates that were converted before it was made lack it.
        ledger=f"{PLATES}/{{plate}}/planes.parquet",
    log:
        f"{PLATES}/logs/convert_plate/{{plate}}.log",
    benchmark:
        f"{PLATES}/benchmarks/convert_plate/{{plate}}.tsv"
    conda:
        "../../envs/plates.yaml"
    threads: 4
    resources:
        mem_mb=gigabytes(4),
        runtime=hours(4),
        io=1,  # `--resources io=4` lets four plates at once load the file system
    params:
        results=plates_folder,
        settings=plates_settings,
        layout=study.plates.section["layout"],
        channels=study.plates.section["channels"],
        z=study.plates.section["z"],
        t=study.plates.section["t"],
        acquisition=study.plates.section["acquisition"],
        flat_field=study.plates.section["flat_field"],
        ngff_version=study.plates.section["ngff_version"],
        max_bad_fraction=study.plates.section["max_bad_fraction"],
    message:
        "Converting plate {wildcards.plate} to OME-Zarr"
    script:
        "../scripts/convert_plate.py"


rule segment_plate:
    input:
        plate=f"{PLATES}/{{plate}}/plate.ome.zarr",
        fields=f"{PLATES}/{{plate}}/fields.parquet",
        weights=plate_weights,
    output:
        segmentation=directory(SEGMENTATION) if PARTS == 1 else temp(directory(SEGMENTATION_PART)),
    log:
        f"{PLATES}/logs/segment_plate/{{plate}}_{{plate_model}}{OF_PART}.log",
    benchmark:
        f"{PLATES}/benchmarks/segment_plate/{{plate}}_{{plate_model}}{OF_PART}.tsv"
    conda:
        "../../envs/segmentation.yaml"
    threads: study.plates.section["threads"]
    resources:
        mem_mb=gigabytes(8),
        runtime=hours(4),
        gpu=1 if study.plates.section["device"] == "cuda" else 0,
    params:
        results=plates_folder,
        channel=plate_channel,
        min_area=study.plates.section["min_area"],
        diameter=study.plates.section["diameter"],
        fill_holes=study.plates.section["fill_holes"],
        exclude_border=study.plates.section["exclude_border"],
        tile=study.plates.section["tile"],
        device=study.plates.section["device"],
        ngff_version=study.plates.section["ngff_version"],
        part=plate_part,
    message:
        "Segmenting plate {wildcards.plate} with {wildcards.plate_model}"
    script:
        "../scripts/segment_plate.py"


if PARTS > 1:

    rule join_parts:
        input:
            plate=f"{PLATES}/{{plate}}/plate.ome.zarr",
            parts=expand(SEGMENTATION_PART, part=range(PARTS), allow_missing=True),
        output:
            segmentation=directory(SEGMENTATION),
        log:
            f"{PLATES}/logs/join_parts/{{plate}}_{{plate_model}}.log",
        benchmark:
            f"{PLATES}/benchmarks/join_parts/{{plate}}_{{plate_model}}.tsv"
        conda:
            "../../envs/segmentation.yaml"
        threads: 1
        resources:
            mem_mb=gigabytes(2),
            runtime=60,
        params:
            results=plates_folder,
        message:
            "Joining the parts of plate {wildcards.plate}"
        script:
            "../scripts/join_parts.py"


rule measure_plate:
    input:
        plate=f"{PLATES}/{{plate}}/plate.ome.zarr",
        fields=f"{PLATES}/{{plate}}/fields.parquet",
        segmentation=f"{PLATES}/{{plate}}/{{plate_model}}/segmentation.ome.zarr",
    output:
        nuclei=f"{PLATES}/{{plate}}/{{plate_model}}/nuclei.parquet",
        fields=f"{PLATES}/{{plate}}/{{plate_model}}/fields.tsv",
        wells=f"{PLATES}/{{plate}}/{{plate_model}}/wells.tsv",
    log:
        f"{PLATES}/logs/measure_plate/{{plate}}_{{plate_model}}.log",
    benchmark:
        f"{PLATES}/benchmarks/measure_plate/{{plate}}_{{plate_model}}.tsv"
    conda:
        "../../envs/plates.yaml"
    threads: 4
    resources:
        mem_mb=gigabytes(4),
        runtime=hours(2),
    params:
        results=plates_folder,
        channel=plate_channel,
    message:
        "Measuring the nuclei of plate {wildcards.plate}"
    script:
        "../scripts/measure_plate.py"


rule report_plate:
    input:
        plate=f"{PLATES}/{{plate}}/plate.ome.zarr",
        segmentation=f"{PLATES}/{{plate}}/{{plate_model}}/segmentation.ome.zarr",
        fields=f"{PLATES}/{{plate}}/{{plate_model}}/fields.tsv",
        wells=f"{PLATES}/{{plate}}/{{plate_model}}/wells.tsv",
        plate_map=plate_map,
    output:
        page=f"{PLATES}/{{plate}}/{{plate_model}}/report.html",
        files=directory(f"{PLATES}/{{plate}}/{{plate_model}}/report_files"),
    log:
        f"{PLATES}/logs/report_plate/{{plate}}_{{plate_model}}.log",
    benchmark:
        f"{PLATES}/benchmarks/report_plate/{{plate}}_{{plate_model}}.tsv"
    conda:
        "../../envs/plates.yaml"
    threads: 4
    resources:
        mem_mb=gigabytes(4),
        runtime=hours(1),
    params:
        results=plates_folder,
        channel=plate_channel,
        truth=plate_truth,
        # No input, though it is read: it is made with the tables above, and a list of inputs that grows makes the pages
        # of all plates anew, also of those whose segmentation was deleted when they were settled.
        nuclei=f"{PLATES}/{{plate}}/{{plate_model}}/nuclei.parquet",
        page_images=study.plates.section["page_images"],
    message:
        "Writing the page of plate {wildcards.plate}"
    script:
        "../scripts/report_plate.py"


# Of the plates that are finished when it is planned: `autorun.sh` asks for it when the others have ended, so that one
# plate that failed does not keep it from being made. It enters plates that failed into scan.tsv, where people look.
rule compare_plates:
    input:
        scan=f"{PLATES}/scan.tsv",
        failures=plate_failures,
        tables=finished_tables,
        plate_maps=finished_plate_maps,
    output:
        table=f"{PLATES}/plates.tsv",
        page=f"{PLATES}/plates.html",
    log:
        f"{PLATES}/logs/compare_plates.log",
    benchmark:
        f"{PLATES}/benchmarks/compare_plates.tsv"
    conda:
        "../../envs/plates.yaml"
    threads: 1
    resources:
        mem_mb=gigabytes(2),
        runtime=60,
    params:
        results=plates_folder,
        settings=plates_settings,
        plates=finished_plates,
    message:
        "Telling the state of all plates"
    script:
        "../scripts/compare_plates.py"
