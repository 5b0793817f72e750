from snakemake.utils import min_version

min_version("9.27")


configfile: f"{workflow.basedir}/config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/study_inputs.smk"
include: "workflow/rules/study_outputs.smk"
include: "workflow/rules/plates_inputs.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/moves.smk"
include: "workflow/rules/subsets.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/plates.smk"


for rule_with_parameters in workflow.rules:
    name_parameters(rule_with_parameters)


rule study:
    default_target: True
    input:
        get_study_output(),
        warn_of_few_seeds,
    message:
        "The study is complete"


rule plates:
    input:
        get_plates_output,
    message:
        "The plates of this tick are done"


rule overview:
    input:
        f"{PLATES}/plates.html",
    message:
        "The overview of all plates is written"


rule export:
    input:
        get_exported_models(),
    message:
        "All trained networks are exported"


rule train_shipped:
    input:
        get_shipped_models(),
    message:
        "The models to ship are trained"


onstart:
    begin_control()


onsuccess:
    end_control()
    print_summaries()


onerror:
    end_control()
