# Inputs and parameters of the rules of a study, by the wildcards of a rule.


def dataset_setting(key):
    """A setting of the rule's data set."""

    def setting(wildcards):
        return study.datasets[wildcards.dataset].get(key)

    return setting


def source_of(wildcards):
    """Where and how the data set's images are stored."""
    return study.source(wildcards.dataset)


def source_folder(wildcards):
    """The folder of a simulated set, which a rule makes. A user's own files are watched by `source_state` instead."""
    return f"{RESULTS}/{wildcards.dataset}/source" if study.is_simulated(wildcards.dataset) else []


def source_state(wildcards):
    """Digest of the source files, so that a changed image is noticed without thousands of declared inputs."""
    return study.source_state(wildcards.dataset)


def dataset_folder(wildcards):
    """The results of the rule's data set."""
    return f"{RESULTS}/{wildcards.dataset}"


def spec_of(wildcards):
    """The network of the rule's model, as plain values."""
    return study.trained[wildcards.model].spec.to_dict()


def training_of(wildcards):
    """The training settings of the rule's data set and model, as plain values."""
    return study.training_of(wildcards.dataset, wildcards.model)


def candidates_of(wildcards):
    """The candidates for the learning rate of the rule's data set and model; none where it is given."""
    return study.candidates(wildcards.dataset, wildcards.model)


def tuning_of(wildcards):
    """The settings that each candidate of the rule's data set and model is trained with, as plain values."""
    return study.tuning_of(wildcards.dataset, wildcards.model)


def choice_of(wildcards):
    """The record of the chosen learning rate of the rule's training, where there are candidates."""
    return CHOICE.format(**wildcards) if candidates_of(wildcards) else []


def inferences_of(wildcards):
    """The inference modes of the rule's model."""
    return study.inference_of(wildcards.model)


def instances_of(wildcards):
    """How predictions of the rule's model become nuclei, where the configuration says."""
    return study.trained[wildcards.model].instances


def about_of(wildcards):
    """Licence and citation of the rule's data set, where the configuration has them."""
    return dict(study.datasets[wildcards.dataset].get("about", {}))


def subset_of(wildcards):
    """The subset of the training part that the rule's model learns from."""
    return dict(study.trained[wildcards.model].subset)


def otsu_scores(wildcards):
    """Scores of Otsu's threshold in every modality of a data set."""
    modalities = study.datasets[wildcards.dataset]["modalities"]
    return [f"{RESULTS}/{wildcards.dataset}/{OTSU}/{modality}/scores.parquet" for modality in modalities]


def moves_of(wildcards):
    """Whether the rule's model is predicted turned between the quarter turns, and shifted: those of the study are."""
    return wildcards.model in study.models


def moved_scores(wildcards):
    """Scores of moved images, of every training of the study's models and of Otsu's threshold in every modality."""
    modalities = study.datasets[wildcards.dataset]["modalities"]
    of_otsu = [f"{RESULTS}/{wildcards.dataset}/{OTSU}/{modality}/turns_and_shifts.parquet" for modality in modalities]
    return [*of_every_run("turns_and_shifts.parquet")(wildcards), *of_otsu]


def choices(wildcards):
    """The records of the chosen learning rates of a data set, of every model that has candidates."""
    return [
        CHOICE.format(dataset=run.dataset, model=run.model, modality=run.modality)
        for run in ALL_RUNS
        if run.dataset == wildcards.dataset and run.seed == study.seeds[0] and study.candidates(run.dataset, run.model)
    ]


def resolved_config(wildcards):
    """The settings of the rule's data set with every default filled in."""
    return study.resolved(wildcards.dataset)
