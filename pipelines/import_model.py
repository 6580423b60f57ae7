"""Makes a bundle of a model that was trained elsewhere, so that it can score today.

twinbeam import siamese.keras --vocabulary words.json --threshold 0.5 --output bundle
twinbeam import use-folder --threshold 0.7 --output bundle
A .keras file is opened in Keras's safe mode, and a model that holds code is refused.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.options import command_line
from pipelines.options.import_options import DROP, ImportOptions, parse
from pipelines.running.trained_on import read_metrics
from transforms.accounts.staging import Staging, claim_folder
from transforms.errors import UserError
from transforms.quiet_tensorflow import import_tensorflow
from transforms.storage import files

if TYPE_CHECKING:
    from model.bundle.foreign_model import ForeignTwins
    from model.bundle.foreign_text import ForeignText

SAVED = "saved_model.pb"


def run(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Imports, and returns the bundle's metrics."""
    return import_model(parse(sys.argv[1:] if argv is None else argv))


def import_model(options: ImportOptions) -> dict[str, Any]:
    """A model that was trained elsewhere → a bundle like any other.

    Raises:
        UserError: the model, its vocabulary or the output cannot be used.
    """
    path = options.model.rstrip("/")
    model = path if options.of_keras else files.join(path, SAVED)
    if not files.exists(model) or (files.is_local(model) and not Path(model).is_file()):
        raise UserError(
            f"{options.model} is neither a .keras file nor a folder with a {SAVED}; expected one"
        )
    identity = run_of(options, path)
    if (done := finished(options, identity)) is not None:
        return done
    import_tensorflow()
    with (
        claim_folder(options.output, overwrite=options.overwrite) as staging,
        files.local_copy(path) as local,
    ):
        if options.of_keras:
            cut = import_keras(options, local, identity, staging)
            print(f"{path}: vectors from the layer {cut!r}; the layers after it compare them")
        else:
            import_saved_model(options, local, identity, staging)
    print(f"threshold {options.threshold:g}; bundle in {options.output}")
    return read_metrics(options.output)


def run_of(options: ImportOptions, path: str) -> str:
    """Names what comes of a model and the options."""
    sums = [files.sha256_of(name) for name in _files(options, path)]
    content = json.dumps([sums, options.identity()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _files(options: ImportOptions, path: str) -> list[str]:
    inside = [path]
    if not options.of_keras:
        inside = [files.join(path, *name.split("/")) for name in sorted(files.list_folder(path))]
    if options.vocabulary is not None and files.exists(options.vocabulary):
        inside.append(options.vocabulary)
    return inside


def finished(options: ImportOptions, identity: str) -> dict[str, Any] | None:
    """The metrics of a bundle that the same import has made; None where there is none.

    Raises:
        UserError: the folder holds something else.
    """
    from model.bundle import loading

    names = files.list_folder(options.output)
    if names and loading.MANIFEST not in names:
        raise UserError(
            f"{options.output} holds {names[0]!r} and is not a bundle; choose another folder"
        )
    if not names or options.overwrite:
        return None
    loading.verify(options.output)
    metrics = read_metrics(options.output)
    if metrics.get("run") != identity:
        raise UserError(
            f"{options.output} holds the bundle of another run; choose another folder, or give "
            "--overwrite"
        )
    print(f"{options.output} is complete already: same model and options")
    return metrics


def import_keras(options: ImportOptions, path: str, identity: str, staging: Staging) -> str:
    """A Siamese .keras model → bundle; the layer behind which it was cut."""
    from model.bundle.foreign_model import split_twins
    from model.bundle.foreign_text import read_vocabulary
    from model.bundle.imported import Imported, check_gives, check_ids, export_imported
    from model.bundle.keras_file import read_model

    twins = split_twins(read_model(path), options.encoder_layer)
    gives = options.gives or "similarity"
    check_gives(twins, gives)
    if twins.reads_text == (options.vocabulary is not None):
        raise UserError(
            "--vocabulary: the model takes sentences as they are; leave it out"
            if twins.reads_text
            else "--vocabulary: the model takes ids; give the file that says which token has which"
        )
    vocabulary = {} if options.vocabulary is None else read_vocabulary(options.vocabulary)
    text = text_of(options, twins)
    if not twins.reads_text:
        check_ids(twins, vocabulary, text.unknown_id)
    imported = Imported(
        name=options.name or Path(options.model).stem,
        source=f"{Path(options.model).name}, trained elsewhere",
        twins=twins,
        text=text,
        vocabulary=vocabulary,
        gives=gives,
        threshold=options.threshold,
        measured_on=options.measured_on,
    )
    export_imported(imported, staging, run=identity)
    return twins.cut_at


def text_of(options: ImportOptions, twins: ForeignTwins) -> ForeignText:
    """How the model's text becomes ids.

    Raises:
        UserError: `--max_tokens` is not the model's length.
    """
    from model.bundle.foreign_text import ForeignText

    length = None if twins.reads_text else twins.length
    if length is not None and options.max_tokens not in (None, length):
        raise UserError(
            f"--max_tokens {options.max_tokens}: the model takes {length} ids; leave it out"
        )
    unknown = options.unknown_id or "1"
    return ForeignText(
        tokenizer=options.tokenizer or "char",
        lowercase=options.lowercase is not False,
        nfkc=bool(options.nfkc),
        unknown_id=None if unknown == DROP else int(unknown),
        max_tokens=length or options.max_tokens or 256,
        cut=options.cut or "post",
        fixed=length is not None,
        padding=options.padding or "post",
    )


def import_saved_model(options: ImportOptions, path: str, identity: str, staging: Staging) -> None:
    """A SavedModel from sentences to vectors → bundle, by a recipe of that kind."""
    from model.bundle.untrained import export_untrained
    from model.network.saved_model_vectors import SavedModelVectors
    from model.recipe.kinds import COMPARISONS
    from model.recipe.reading import parse_recipe
    from pipelines.examples.transform_graph import given_vocabulary, write_graph

    layer = SavedModelVectors(path, None, options.signature, options.vectors)
    encoder = {"kind": "saved_model", "path": path, "dimensions": layer.dimensions}
    named = {"signature": options.signature, "output": options.vectors}
    comparison = options.comparison or "cosine"
    loss: dict[str, Any] = {"kind": "binary_crossentropy"}
    if COMPARISONS[comparison].output == "cosine":  # cosines have a loss of their own scale
        loss = {"kind": "cosine_mse", "low": 0, "high": 1}
    recipe = parse_recipe(
        {
            "name": options.name or Path(options.model.rstrip("/")).name,
            "description": f"Vectors of a SavedModel that was trained elsewhere, and {comparison}",
            "source": f"{Path(options.model.rstrip('/')).name}, trained elsewhere",
            "task": "binary",
            "labels": {"classes": ["0", "1"]},
            "text": {"tokenizer": "none"},
            "encoder": encoder | {key: value for key, value in named.items() if value},
            "comparison": {"kind": comparison},
            "loss": loss,
            "untrained": {"threshold": options.threshold, "measured_on": options.measured_on},
        },
        source=options.model,
    )
    with tempfile.TemporaryDirectory(prefix="twinbeam-graph-") as graph:
        write_graph(recipe, given_vocabulary(recipe), graph)
        export_untrained(
            recipe,
            vocabulary_size=0,
            graph=graph,
            staging=staging,
            run=identity,
        )


def main() -> int:
    """The command line."""
    return command_line.run_main(run)


if __name__ == "__main__":
    raise SystemExit(main())
