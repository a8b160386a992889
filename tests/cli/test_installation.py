"""What a wheel and an editable install put on a machine, and what uninstalling leaves."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

# one worker builds the wheel once
pytestmark = pytest.mark.xdist_group("installation")

ROOT = Path(__file__).parents[2]
REGISTERED = (
    "import lm_eval.models, lm_eval.api.registry as r; print('sentinel' in r.model_registry)"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([sys.executable, "-m", *words, str(ROOT)], check=True)
    (path,) = folder.glob("*.whl")
    return path


class Environment:
    """A fresh environment; what runs in it also sees the libraries of this one."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False)
        self.python = folder / "bin" / "python"
        self.site = Path(self.run("import sysconfig; print(sysconfig.get_path('purelib'))"))

    def run(self, code: str) -> str:
        # the .pth files of a folder on PYTHONPATH are not processed: our own hook is not seen
        libraries = {"PYTHONPATH": sysconfig.get_path("purelib")}
        done = subprocess.run(
            [str(self.python), "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT.parent,
            env=os.environ | libraries,
        )
        return done.stdout.strip()

    def pip(self, *words: str) -> None:
        # with the pip of this environment: to install one takes longer than the test
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "--quiet"]
        subprocess.run([*pip, *words], check=True)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "env")


def test_wheel_holds_hook_tasks_recipes_and_templates(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "zz_sentinel_research.pth" in names
    assert "sentinel_research/recipes/demo.yaml" in names
    assert "sentinel_research/reporting/templates/report.html.j2" in names
    for task in ROOT.glob("tasks/**/*.*"):
        assert f"sentinel_research/_tasks/{task.relative_to(ROOT / 'tasks')}" in names
    assert not [name for name in names if name.startswith(("tests/", "tasks/"))]


def test_wheel_registers_the_model_and_uninstalling_removes_it(
    wheel: Path, environment: Environment
) -> None:
    environment.pip("install", "--no-deps", str(wheel))
    assert environment.run(REGISTERED) == "True"
    where = "from sentinel_research.data.tasks import task_folder; print(task_folder())"
    folder = Path(environment.run(where))
    assert folder == environment.site / "sentinel_research" / "_tasks"
    assert (folder / "gutenberg" / "sentinel_gutenberg.yaml").is_file()
    environment.pip("uninstall", "--yes", "sentinel-research")
    assert environment.run(REGISTERED) == "False"
    assert not list(environment.site.glob("*sentinel*"))


def test_editable_install_copies_the_hook_but_no_tasks() -> None:
    installed = Path(sysconfig.get_path("purelib"))
    if not (installed / "_editable_impl_sentinel_research.pth").exists():
        pytest.skip("this environment holds no editable install")
    assert (installed / "zz_sentinel_research.pth").is_file()
    assert not (installed / "sentinel_research").exists()
    from sentinel_research.data.tasks import task_folder

    assert task_folder() == ROOT / "tasks"
