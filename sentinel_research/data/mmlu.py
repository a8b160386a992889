"""MMLU's 57 subjects, and the task file of each: lm-eval knows a task only by a file of its own.

`python -m sentinel_research.data.mmlu` writes the files; a test holds them to this table.

Reference:
    [1] Hendrycks et al., Measuring Massive Multitask Language Understanding (2021), table 2.
        https://arxiv.org/abs/2009.03300
"""

from sentinel_research.data.tasks import task_folder

SUBJECTS = {
    "stem": (
        "abstract_algebra",
        "anatomy",
        "astronomy",
        "college_biology",
        "college_chemistry",
        "college_computer_science",
        "college_mathematics",
        "college_physics",
        "computer_security",
        "conceptual_physics",
        "electrical_engineering",
        "elementary_mathematics",
        "high_school_biology",
        "high_school_chemistry",
        "high_school_computer_science",
        "high_school_mathematics",
        "high_school_physics",
        "high_school_statistics",
        "machine_learning",
    ),
    "humanities": (
        "formal_logic",
        "high_school_european_history",
        "high_school_us_history",
        "high_school_world_history",
        "international_law",
        "jurisprudence",
        "logical_fallacies",
        "moral_disputes",
        "moral_scenarios",
        "philosophy",
        "prehistory",
        "professional_law",
        "world_religions",
    ),
    "social_sciences": (
        "econometrics",
        "high_school_geography",
        "high_school_government_and_politics",
        "high_school_macroeconomics",
        "high_school_microeconomics",
        "high_school_psychology",
        "human_sexuality",
        "professional_psychology",
        "public_relations",
        "security_studies",
        "sociology",
        "us_foreign_policy",
    ),
    "other": (
        "business_ethics",
        "clinical_knowledge",
        "college_medicine",
        "global_facts",
        "human_aging",
        "management",
        "marketing",
        "medical_genetics",
        "miscellaneous",
        "nutrition",
        "professional_accounting",
        "professional_medicine",
        "virology",
    ),
}
"""The subjects of each of the four groups."""


def task_files() -> dict[str, str]:
    """The content of each subject's task file, by its name.

    Example:
        >>> len(task_files())
        57
    """
    return {
        f"sentinel_mmlu_{subject}.yaml": _task_file(subject, group)
        for group, subjects in SUBJECTS.items()
        for subject in subjects
    }


def _task_file(subject: str, group: str) -> str:
    words = subject.replace("_", " ")
    return f"""\
# written by python -m sentinel_research.data.mmlu
include: _mmlu.yaml.inc
task: sentinel_mmlu_{subject}
task_alias: {subject}
tag: sentinel_mmlu_{group}_subjects
dataset_kwargs:
  repository: cais/mmlu
  subset: {subject}
description: "The following are multiple choice questions (with answers) about {words}.\\n\\n"
metadata:
  version: 1.0
  texts: [question]
  description: "MMLU, {words}: questions with four choices. Accuracy."
"""


if __name__ == "__main__":
    for name, content in task_files().items():
        (task_folder() / "mmlu" / name).write_text(content, encoding="utf-8")
