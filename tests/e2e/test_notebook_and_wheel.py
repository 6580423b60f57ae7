"""The notebook in docs/ runs, and an installed wheel goes from CSV to scores outside a checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

import twinbeam
from pipelines import score

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_notebook_runs_and_scores_as_the_pipeline_does(tiny: SimpleNamespace, tmp_path: Path):
    cells = json.loads((ROOT / "docs/twinbeam.ipynb").read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    names: dict = {}
    for text in code:
        exec(text.replace("out/bundle", tiny.bundle), names)

    assert names["scores"]["reject_reason"].tolist()[2:] == ["sentence_null", "sentence_blank"]
    assert names["vectors"].shape == (3, names["bundle"].manifest["dimensions"])

    source = str(tiny.folder / "labelled.parquet")
    score.run(["--input", source, "--model", tiny.bundle, "--output", str(tmp_path / "out")])
    piped = pq.read_table(tmp_path / "out")
    found = twinbeam.load(tiny.bundle).score(pq.read_table(source))
    for name in ("similarity", "similarity_label"):
        assert np.array_equal(found[name].drop_null().to_numpy(), piped[name].to_numpy())


def run(*words: object, cwd: Path, home: Path) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=1_200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1_500)
def test_an_installed_wheel_goes_from_csv_to_scores(tiny: SimpleNamespace, tmp_path: Path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir"]
    run(*build, tmp_path / "dist", ROOT, cwd=ROOT, home=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("twinbeam-*.whl")
    venv.create(tmp_path / "empty", with_pip=False, symlinks=True)
    place = next((tmp_path / "empty").glob("lib/python*/site-packages"))
    # The packages that it needs, as they are installed for these tests; ours is in the wheel alone.
    (place / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", place, wheel,
        cwd=tmp_path, home=tmp_path,
    )  # fmt: skip
    command = [tmp_path / "empty/bin/python", "-m", "twinbeam"]
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2\nhow do I pay?,where to pay\nhello,\n")

    names = run(*command, "train", "--list_recipes", cwd=tmp_path, home=tmp_path)
    assert "char-bilstm-manhattan" in names  # recipes are in the wheel
    convert = ["convert", "--input", "pairs.csv", "--output", "pairs.parquet", "--no_label"]
    run(*command, *convert, cwd=tmp_path, home=tmp_path)
    flags = ["--input", "pairs.parquet", "--model", tiny.bundle, "--output", "out/scores"]
    more = ["--max_reject_fraction", "1"]
    run(*command, "score", *flags, *more, cwd=tmp_path, home=tmp_path)

    scored = pq.read_table(tmp_path / "out/scores").to_pylist()
    assert [row["sentence1"] for row in scored] == ["how do I pay?"]
    assert 0 <= scored[0]["similarity"] <= 1
