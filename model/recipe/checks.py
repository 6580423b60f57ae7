"""Whether the parts of a recipe fit together. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from model.recipe import parts
from model.recipe.kinds import ENCODERS, comparisons_read_by
from model.recipe.paths import resolve_path
from model.recipe.presets import Preset, read_preset
from transforms.errors import UserError

if TYPE_CHECKING:
    from model.recipe.recipe import Recipe


# task → what epochs can be compared by; of two classes by all there is
_MONITORS: dict[str, tuple[str, ...]] = {
    "classes": ("accuracy", "macro_f1", "loss"),
    "regression": ("pearson", "spearman", "loss"),
}


def misfits(recipe: Recipe) -> Iterator[str]:
    """What does not fit: each with the key, what it needs and what was received."""
    yield from _label_misfits(recipe)
    yield from _text_misfits(recipe)
    yield from _loss_misfits(recipe)
    yield from _untrained_misfits(recipe)
    allowed = _MONITORS.get(recipe.task)
    if recipe.training.monitor and allowed and recipe.training.monitor not in allowed:
        yield (
            f"training.monitor: task {recipe.task} has {', '.join(allowed)}; "
            f"received {recipe.training.monitor!r}"
        )
    kind, encoder = recipe.encoder.kind, recipe.encoder_kind
    if recipe.training.pretrain_epochs and not encoder.recurrent:
        recurrent = " or ".join(name for name, row in ENCODERS.items() if row.recurrent)
        yield f"training.pretrain_epochs: only for encoder {recurrent}; it is {kind}"
    if recipe.training.batches == "neighbours" and not encoder.encodes_once:
        once = " or ".join(name for name, row in ENCODERS.items() if row.encodes_once)
        yield f"training.batches: neighbours is only for encoder {once}; it is {kind}"
    if recipe.training.keep == "last" and recipe.training.patience:
        yield "training.patience: stops after the best epoch, so training.keep cannot be last"
    if recipe.training.encode_at_once and not recipe.loss_kind.on_vectors:
        yield f"training.encode_at_once: only for losses on vectors; loss is {recipe.loss.kind}"
    if recipe.training.xla and not encoder.compiles:
        yield f"training.xla: cannot compile the encoder {kind}; leave it out"


def doubts(recipe: Recipe) -> Iterator[str]:
    """What fits, and yet is hardly what is wanted: each with the key and a remedy."""
    comparison = recipe.comparison
    headless = isinstance(comparison, parts.Head) and not comparison.hidden
    if recipe.comparison_kind.splits and headless:
        yield (
            f"comparison: {comparison.kind} without a hidden layer is f(a) + g(b), which cannot "
            "tell whether two sentences say the same; give it 'hidden: [256]', or choose "
            "absdiff_product"
        )
    if isinstance(recipe.encoder, parts.Bert) and recipe.text.nfkc:
        yield (
            "text.nfkc: it makes full-width characters half-width, which the tokeniser of a "
            "pre-trained model does on its own, or was not trained with; set 'nfkc: false'"
        )


def _untrained_misfits(recipe: Recipe) -> Iterator[str]:
    if recipe.untrained is None or recipe.needs_training is None:
        return
    yield f"untrained: {recipe.needs_training}; leave it out"


def _label_misfits(recipe: Recipe) -> Iterator[str]:
    task, labels = recipe.task, recipe.labels
    unlabelled = recipe.reads_triplets or recipe.reads_positives
    if labels.transitive and (task != "binary" or unlabelled):
        given = f"task {task}" if task != "binary" else "data without labels"
        yield f"labels.transitive: only for pairs of task binary; received {given}"
    weights = labels.class_weights
    if weights is not None and len(weights) != len(labels.classes or ()):
        yield (
            f"labels.class_weights: one for each of labels.classes ({len(labels.classes or ())}); "
            f"received {len(weights)}"
        )
    if recipe.distill is not None and (task == "classes" or unlabelled):
        given = f"task {task}" if task == "classes" else "data without labels"
        yield f"distill: only for labelled pairs of task binary or regression; received {given}"
    if recipe.learns_vectors and recipe.distill and len(recipe.distill.teacher) != 1:
        yield (
            "distill.vectors: of one teacher, named in distill.teacher; received "
            f"{len(recipe.distill.teacher)}"
        )
    if task == "regression":
        if labels.classes is not None or labels.similar is not None:
            yield "labels.classes: task regression has numbers; give labels.minimum and maximum"
        elif labels.minimum is None or labels.maximum is None or labels.minimum >= labels.maximum:
            yield (
                "labels: task regression needs labels.minimum below labels.maximum; received "
                f"{labels.minimum} and {labels.maximum}"
            )
        return
    if labels.minimum is not None or labels.maximum is not None:
        yield f"labels.minimum, labels.maximum: only for task regression; task is {task}"
    if recipe.reads_positives:
        return
    count = len(labels.classes or ())
    if count == 0 or len(set(labels.classes or ())) < count:
        yield f"labels.classes: task {task} needs different class names; received {labels.classes}"
    if task == "binary" and count != 2:
        yield f"labels.classes: task binary needs two, the similar one last; received {count}"
    if labels.similar is not None and (
        task == "binary" or labels.similar not in (labels.classes or ())
    ):
        yield (
            "labels.similar: one of labels.classes, and only for task classes; received "
            f"{labels.similar!r}"
        )


def _text_misfits(recipe: Recipe) -> Iterator[str]:
    kind, tokenizer = recipe.encoder.kind, recipe.text.tokenizer
    wanted, embeds = recipe.encoder_kind.tokenizers, recipe.encoder_kind.embeds
    if tokenizer not in wanted:
        yield (
            f"text.tokenizer: encoder {kind} needs {' or '.join(wanted)}; received {tokenizer!r}"
        )
    if recipe.text.vocabulary is not None and tokenizer not in ("wordpiece", "sentencepiece"):
        yield (
            "text.vocabulary: only for tokenizer wordpiece or sentencepiece; tokenizer is "
            f"{tokenizer!r}"
        )
    yield from _preset_misfits(recipe)
    if not embeds and recipe.embedding is not None:
        yield f"embedding: encoder {kind} brings its own vectors; leave it out"
    if embeds and recipe.embedding is None:
        yield f"embedding: encoder {kind} needs it, as in 'embedding: {{dimensions: 128}}'"
    embedding = recipe.embedding
    if embedding is not None and not embedding.trainable and embedding.vectors is None:
        yield "embedding.vectors: vectors that are not trainable must come from somewhere"
    heads = recipe.encoder.heads if isinstance(recipe.encoder, parts.Transformer) else 1
    if embedding is not None and embedding.dimensions % heads:
        yield (
            f"encoder.heads: must divide embedding.dimensions ({embedding.dimensions}); "
            f"received {heads}"
        )


def preset_of(recipe: Recipe) -> Preset | None:
    """What the files of a recipe's pre-trained model say; None where they are not here.

    Raises:
        UserError: they say what cannot be used.
    """
    if not isinstance(recipe.encoder, parts.Bert):
        return None
    try:
        folder = resolve_path(recipe.encoder.preset)
    except UserError:
        return None
    return read_preset(folder)


def _preset_misfits(recipe: Recipe) -> Iterator[str]:
    try:
        preset = preset_of(recipe)
    except UserError as error:
        yield str(error)
        return
    if preset is None:
        return
    text = recipe.text
    if text.max_tokens > preset.places:
        yield (
            f"text.max_tokens: encoder.preset has places for {preset.places} tokens; "
            f"received {text.max_tokens}"
        )
    if preset.lowercase is not None and text.lowercase != preset.lowercase:
        yield (
            f"text.lowercase: the tokeniser of encoder.preset has {str(preset.lowercase).lower()}; "
            f"received {str(text.lowercase).lower()}"
        )
    if text.prefix and not preset.prefix_counts:
        yield (
            "text.prefix: encoder.preset leaves prefixes out of its mean, which cannot be computed"
        )


def _loss_misfits(recipe: Recipe) -> Iterator[str]:
    loss, tasks = recipe.loss, recipe.loss_kind.tasks
    comparisons = comparisons_read_by(loss.kind)
    if recipe.task not in tasks:
        yield f"task: loss {loss.kind} needs {' or '.join(tasks)}; received {recipe.task!r}"
    if recipe.comparison.kind not in comparisons and not recipe.comparison_kind.imported:
        yield (
            f"comparison.kind: loss {loss.kind} needs {' or '.join(comparisons)}; "
            f"received {recipe.comparison.kind!r}"
        )
    if recipe.training.mirror and recipe.symmetric:
        kind = recipe.comparison.kind
        yield f"training.mirror: comparison {kind} sees no difference; leave it out"
    if isinstance(loss, parts.CosineMse) and loss.low >= loss.high:
        yield f"loss.low: must be below loss.high ({loss.high}); received {loss.low}"


def check_shared(first: Recipe, other: Recipe, folder: str) -> None:
    """Makes sure that two recipes can share a network.

    Raises:
        UserError: names the part that differs.
    """
    for part in ("text", "embedding", "encoder"):
        if _plain(first, part) != _plain(other, part):
            raise UserError(
                f"--more_examples {folder}: its recipe has another {part} than that of --examples; "
                "only comparison, loss, labels and batch size may differ"
            )
    same_head = first.comparison == other.comparison and not first.loss_kind.on_vectors
    if not other.loss_kind.on_vectors and not same_head:
        raise UserError(
            f"--more_examples {folder}: its loss {other.loss.kind} reads the comparison "
            f"{other.comparison.kind}, which --examples do not train; give both recipes the same "
            "comparison, or choose a loss on vectors, such as multiple_negatives or cosent"
        )


def _plain(recipe: Recipe, part: str) -> object:
    values = getattr(recipe, part)
    if values is None:
        return None
    # What is held out, and how often a token must be seen, is each data set's own.
    own = {"eval_fraction", "eval_split", "max_vocabulary", "min_count", "vectors"}
    return {key: value for key, value in values.model_dump().items() if key not in own}
