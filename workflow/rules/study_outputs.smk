# Outputs of a study with their captions, and all that its targets ask for.


def table_output(name):
    """A table of a data set as an output, with its caption in Snakemake's report."""
    path = f"{RESULTS}/{{dataset}}/tables/{name}.tsv"
    return report(
        path,
        caption=f"../report/tables/{name}.rst",
        category="{dataset}",
        subcategory="Tables",
        labels={"table": ALL_TABLES[name]},
    )


def figure_output(name):
    """A figure of a data set as an output, with its caption in Snakemake's report."""
    path = f"{RESULTS}/{{dataset}}/figures/{name}.png"
    return report(
        path,
        caption=f"../report/figures/{name}.rst",
        category="{dataset}",
        subcategory="Figures",
        labels={"figure": ALL_FIGURES[name]},
    )


def gallery_output(name):
    """A folder of figures of a data set as an output; in Snakemake's report all of its figures have one caption."""
    folder = directory(f"{RESULTS}/{{dataset}}/figures/{name}")
    return report(
        folder,
        patterns=["{name}.png"],
        caption=f"../report/figures/{name}.rst",
        category="{dataset}",
        subcategory="Examples",
        labels={"figure": GALLERIES[name], "of": "{name}"},
    )


def captions(kind, titles):
    """Titles and captions of tables or figures, as plain values."""
    folder = Path(ROOT, "workflow/report", kind)
    return [[title, (folder / f"{name}.rst").read_text(encoding="utf-8")] for name, title in titles.items()]


def templates_digest():
    """Digest of what the page of a study is made from besides code: its templates, and the data dictionary."""
    templates = ROOT / "equinuclei/pages/templates"
    files = [*(templates / name for name in ("page.css", "page.js", "study.html")), COLUMNS_FILE]
    return digest([path.read_text(encoding="utf-8") for path in files])


def get_study_output():
    """Everything that a study makes; also the weights, so that deleted ones are trained again."""
    outputs = [run_file(run, "weights.safetensors") for run in ALL_RUNS]
    for dataset in study.datasets:
        outputs += [f"{RESULTS}/{dataset}/tables/{name}.tsv" for name in ALL_TABLES]
        outputs += [f"{RESULTS}/{dataset}/figures/{name}.{suffix}" for name in ALL_FIGURES for suffix in ("png", "pdf")]
        outputs += [f"{RESULTS}/{dataset}/figures/{name}" for name in GALLERIES]
        outputs.append(f"{RESULTS}/{dataset}/tables/provenance.json")
        outputs.append(f"{RESULTS}/{dataset}/report.html")
        if study.subsets:
            outputs.append(SUBSETS.format(dataset=dataset))
    return outputs


def warn_of_few_seeds(wildcards):
    """No file, but a warning, once, before anything runs; as an input it is told only where a study is made.

    `snakemake -n` tells it last: its list of jobs may be longer than a screen.
    """
    if workflow.is_main_process and study.seed_warning and not warned:
        tell = partial(logger.warning, study.seed_warning)
        if workflow.dryrun:
            atexit.register(tell)
        else:
            tell()
        warned.append(study.seed_warning)
    return []


def get_exported_models():
    """Every trained network of the study's models as a PyTorch program, as ONNX, and for the BioImage Model Zoo."""
    names = ("model.pt2", "model.onnx", "bioimage_model.zip")
    return [run_file(run, name) for run in study.runs for name in names]


def get_shipped_models():
    """What `equinuclei promote` makes a named model from, and its package, for every training of the study."""
    names = ("weights.safetensors", "accuracy.md", "bioimage_model.zip")
    return [run_file(run, name) for run in study.runs for name in names]


def print_summaries():
    """Show the tables that a study ended with, and where the figures are."""
    targets = workflow.dag_settings.targets
    if targets and "study" not in targets:
        return
    for dataset in study.datasets:
        summary = Path(RESULTS, dataset, "tables", "summary.txt")
        if summary.is_file():
            print(f"\n{summary.read_text(encoding='utf-8')}")
            print(f"Tables:  {RESULTS}/{dataset}/tables/")
            print(f"Figures: {RESULTS}/{dataset}/figures/")
            print(f"Report:  {RESULTS}/{dataset}/report.html")
