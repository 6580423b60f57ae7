"""The worker image and the flex templates, as far as they go without a Docker engine."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

from model.bundle import export
from pipelines import template
from tests.cloud.fakes import PROJECT, REGION, FakeCloud
from tests.scoring_kit import pairs, write
from transforms.accounts.staging import stage
from transforms.errors import UserError

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
FROM_HERE = re.findall(r"^COPY (?!--from)(\S+) (\S+)$", DOCKERFILE, re.M)
ARGS = dict(re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILE, re.M))
HADOLINT = Path(sys.executable).with_name("hadolint")


def pinned(lock: str) -> dict[str, str]:
    """Package → version, of what the lock has for the image's Python."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    lines = map(Requirement, re.findall(r"^([a-z0-9_.-]+==[^\\]+)", text, re.M))
    image = default_environment() | {"python_version": "3.11", "python_full_version": "3.11.9"}
    return {
        line.name: str(line.specifier).removeprefix("==")
        for line in lines
        if line.marker is None or line.marker.evaluate(image)
    }


def test_hadolint_finds_nothing():
    done = subprocess.run(
        [HADOLINT, "-c", "docker/hadolint.yaml", "docker/Dockerfile"],
        cwd=ROOT, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_hadolint_would_find_something(tmp_path: Path):
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN pip install x\n")
    done = subprocess.run(
        [HADOLINT, "-c", ROOT / "docker/hadolint.yaml", tmp_path / "Dockerfile"],
        capture_output=True, timeout=250,
    )  # fmt: skip
    assert done.returncode != 0


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_all_that_is_copied_is_there_and_goes_to_the_builder(device: str):
    kept = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M)
    for source, _ in FROM_HERE:
        path = source.replace("${DEVICE}", device)
        assert (ROOT / path).exists(), path
        assert any(fnmatch.fnmatch(path.split("/")[0], one) for one in kept), path


def test_the_image_has_the_versions_that_submit_to_it():
    assert ARGS["BEAM"] == version("apache-beam")
    assert ARGS["PYTHON"] == "3.11"
    everything, cpu = pinned("requirements.lock"), pinned("docker/requirements-cpu.lock")
    gpu = pinned("docker/requirements-gpu.lock")
    assert cpu["apache-beam"] == ARGS["BEAM"] and len(cpu) > 100
    assert all(everything[name] == one for name, one in cpu.items())
    assert {name: gpu[name] for name in cpu} == cpu
    more = gpu.keys() - cpu.keys()
    assert {"gensim", "scikit-learn"} < more  # the same image trains on Vertex AI
    assert any(name.startswith("nvidia-") for name in more)
    assert all(everything.get(name) == gpu[name] for name in more if not name.startswith("nvidia-"))
    assert not {"pytest", "gensim", "matplotlib", "ruff"} & cpu.keys()


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_every_package_is_pinned_by_its_hash(device: str):
    text = (ROOT / f"docker/requirements-{device}.lock").read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-z])", text, flags=re.M)[1:]
    assert entries and all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("step", template.STEPS)
def test_the_parameters_are_those_of_the_command(step: str):
    kept = json.loads((ROOT / f"docker/{step}.metadata.json").read_text(encoding="utf-8"))
    assert kept == template.metadata(step), "run make template"

    flags = {action.dest for action in template.flags_of(step)._actions} - set(template.LEFT_OUT)
    assert {one["name"] for one in kept["parameters"]} == flags | {"step", "sdk_container_image"}
    for one in kept["parameters"]:
        assert one["helpText"].endswith(".") and len(one["helpText"]) > 10
        assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]*", one["name"])
        for regex in one["regexes"]:
            assert regex.startswith("^") and regex.endswith("$") and re.compile(regex)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("step", "score", "train"),
        ("sdk_container_image", "europe-docker.pkg.dev/p/twinbeam/worker:1", "worker:1"),
        ("input", "gs://b/in/*.parquet gs://b/more/x.parquet", "in/*.parquet"),
        ("model", "gs://bucket/bundle", "bundle"),
        ("output", "gs://bucket/out", "gs:///out"),
        ("shard_rows", "5000", "0"),
        ("max_reject_fraction", "0.05", "5"),
        ("threshold", "0.5", "half"),
        ("on_bad_file", "reject", "skip"),
        ("overwrite", "true", "yes"),
        ("redact", "false", "no"),
        ("accelerator", "nvidia-l4:1", "nvidia-l4"),
        ("model_sha256", "a" * 64, "a" * 63),
    ],
)
def test_a_regex_lets_good_values_through_and_no_bad_ones(name: str, good: str, bad: str):
    described = {one["name"]: one for one in template.metadata("score")["parameters"]}
    (regex,) = described[name]["regexes"]
    assert re.match(regex, good) and not re.match(regex, bad)


def test_the_defaults_pass_their_own_regexes():
    for step in template.STEPS:
        described = {one["name"]: one for one in template.metadata(step)["parameters"]}
        for action in template.flags_of(step)._actions:
            if action.dest in described and action.default not in (None, True, False):
                assert re.match(described[action.dest]["regexes"][0], str(action.default)), (
                    action.dest
                )


def test_parameters_become_the_commands_flags():
    step, words = template.command_words(
        ["--step=score", "--input=gs://b/1 gs://b/2", "--overwrite=true", "--redact=false",
         "--model=gs://b/m", "--runner=DataflowRunner", "--job_name=x"]
    )  # fmt: skip
    assert step == "score"
    assert words == [
        "--input", "gs://b/1", "gs://b/2", "--overwrite", "--no_redact", "--model=gs://b/m",
        "--runner=DataflowRunner", "--job_name=x",
    ]  # fmt: skip
    assert template.command_words(["--step=score", "--overwrite=false"])[1] == []
    with pytest.raises(UserError, match="none of score, preprocess"):
        template.command_words(["--step=train"])


def test_the_template_file_is_what_the_service_reads(cloud: FakeCloud, bucket: str):
    image = "europe-docker.pkg.dev/p/twinbeam/worker:1"
    template.run(["score", "--image", image, "--output", f"{bucket}/templates/score.json"])

    described = json.loads(cloud.read(f"{bucket}/templates/score.json"))
    assert described["image"] == image and described["sdkInfo"] == {"language": "PYTHON"}
    assert described["metadata"] == template.metadata("score")


@pytest.mark.slow
def test_what_the_image_holds_launches_a_job_as_the_launcher_would(
    cloud: FakeCloud, bucket: str, tmp_path: Path
):
    """The launcher runs FLEX_TEMPLATE_PYTHON_PY_FILE, and wants the job's graph, not the job."""
    root = tmp_path / "root"
    for source, target in [*FROM_HERE, ("docker/launch.py", "/template/launch.py")]:
        here, copied = ROOT / source.replace("${DEVICE}", "cpu"), root / target.lstrip("/")
        copied.parent.mkdir(parents=True, exist_ok=True)
        ignore = shutil.ignore_patterns("__pycache__")
        if here.is_dir():
            shutil.copytree(here, copied, ignore=ignore)
        else:
            shutil.copy(here, copied)
    environment = dict(re.findall(r"(FLEX_TEMPLATE_\w+|PYTHONPATH)=(\S+)", DOCKERFILE))
    started = root / environment["FLEX_TEMPLATE_PYTHON_PY_FILE"].lstrip("/")
    local = write(tmp_path / "a.parquet", pairs(50))
    cloud.write(f"{bucket}/in/a.parquet", local.read_bytes())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"not opened by a launcher")
    export.publish_bundle(
        tmp_path / "model",
        stage(f"{bucket}/bundle", overwrite=False),
        {"dimensions": 2, "versions": {}},
    )
    image = "europe-docker.pkg.dev/p/twinbeam/worker:1"
    done = subprocess.run(
        [sys.executable, str(started), "--step=score", f"--input={bucket}/in/*.parquet",
         f"--model={bucket}/bundle", f"--output={bucket}/out", "--overwrite=false",
         "--runner=DataflowRunner", f"--project={PROJECT}", f"--region={REGION}",
         f"--temp_location={bucket}/tmp", "--job_name=from-template",
         f"--template_location={bucket}/staged/graph", f"--sdk_container_image={image}",
         f"--dataflow_endpoint={cloud.dataflow_url}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=250,
        env={**os.environ, **cloud.environment, "PYTHONPATH": str(root / "template")},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-2000:]
    job = json.loads(cloud.read(f"{bucket}/staged/graph"))
    assert job["name"] == "from-template"
    (pool,) = job["environment"]["workerPools"]
    assert pool["workerHarnessContainerImage"] == image
    assert cloud.dataflow.jobs == []


def test_the_readmes_quickstart_builds_a_stage_that_runs_any_command(tmp_path: Path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (stage,) = re.findall(r"^\$ docker build .*--target (\w+)", readme, re.M)
    part = re.search(rf"^FROM base AS {stage}\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.M | re.S)
    assert part and "COPY docker/command.sh /usr/local/bin/twinbeam" in part[1]
    assert "requirements-data.lock" in part[1]  # the encoders of recipes that need no training

    # The stage's files, its entry point, and a folder of the user's as the place to work in.
    for source, target in FROM_HERE:
        if target.startswith("/template/") and (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / target.strip("/"))
    data = tmp_path / "data"
    data.mkdir()
    (data / "pairs.csv").write_text("sentence1,sentence2\nhow do I pay?,where to pay\n")
    flags = ["--input", "pairs.csv", "--output", "pairs.parquet", "--no_label"]
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["sh", ROOT / "docker/command.sh", "convert", *flags],
        cwd=data, env={"PATH": path, "PYTHONPATH": str(tmp_path / "template"), "HOME": "/tmp"},
        capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 pairs in pairs.parquet\n" and (data / "pairs.parquet").exists()
