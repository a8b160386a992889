"""MMLU's 57 subjects, and the task file of each: lm-eval knows a task only by a file of its own.

`python -m sentinel_research.data.mmlu` writes the files; a test holds them to this table.

Reference:
    [1] Hendrycks et al., Measuring Massive Multitask Language Understanding (2021), table 2.
        https://arxiv.org/abs/2009.03300
"""

from sentinel_research.data.tasks import task_folder

SUBJECTS = {
    "stem": {
        "abstract_algebra": 100,
        "anatomy": 135,
        "astronomy": 152,
        "college_biology": 144,
        "college_chemistry": 100,
        "college_computer_science": 100,
        "college_mathematics": 100,
        "college_physics": 102,
        "computer_security": 100,
        "conceptual_physics": 235,
        "electrical_engineering": 145,
        "elementary_mathematics": 378,
        "high_school_biology": 310,
        "high_school_chemistry": 203,
        "high_school_computer_science": 100,
        "high_school_mathematics": 270,
        "high_school_physics": 151,
        "high_school_statistics": 216,
        "machine_learning": 112,
    },
    "humanities": {
        "formal_logic": 126,
        "high_school_european_history": 165,
        "high_school_us_history": 204,
        "high_school_world_history": 237,
        "international_law": 121,
        "jurisprudence": 108,
        "logical_fallacies": 163,
        "moral_disputes": 346,
        "moral_scenarios": 895,
        "philosophy": 311,
        "prehistory": 324,
        "professional_law": 1534,
        "world_religions": 171,
    },
    "social_sciences": {
        "econometrics": 114,
        "high_school_geography": 198,
        "high_school_government_and_politics": 193,
        "high_school_macroeconomics": 390,
        "high_school_microeconomics": 238,
        "high_school_psychology": 545,
        "human_sexuality": 131,
        "professional_psychology": 612,
        "public_relations": 110,
        "security_studies": 245,
        "sociology": 201,
        "us_foreign_policy": 100,
    },
    "other": {
        "business_ethics": 100,
        "clinical_knowledge": 265,
        "college_medicine": 173,
        "global_facts": 100,
        "human_aging": 223,
        "management": 103,
        "marketing": 234,
        "medical_genetics": 100,
        "miscellaneous": 783,
        "nutrition": 306,
        "professional_accounting": 282,
        "professional_medicine": 272,
        "virology": 166,
    },
}
"""The subjects of each of the four groups, with their numbers of questions in the test split."""


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
