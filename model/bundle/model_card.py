"""The model card: what a bundle says of itself to people who meet it without us."""

from __future__ import annotations

from typing import Any

from model.recipe.recipe import Recipe

_TASKS = {
    "binary": "the similarity of two sentences, 0 to 1, and the label 1 from the threshold on",
    "regression": "how related two sentences are, as a number on the scale of the labels",
    "classes": "the class of a pair and a probability of each; the similarity is that of one class",
}


_MEASURED = """## Measured on the eval part

| measure | value |
| --- | --- |
{numbers}
The eval part comes from the same source as the training part and may share sentences with it.
Text of another kind or language will be scored less well: measure it with
`twinbeam evaluate` before you rely on it.
"""
_UNTRAINED = """## Before you rely on it

Nothing was trained or measured on your pairs, and the threshold was chosen on others. Score a few
hundred pairs that you have labelled, run `twinbeam evaluate` on them, and let
`twinbeam calibrate` set the threshold and turn the similarities into probabilities.
"""


def model_card(recipe: Recipe, about: dict[str, Any], metrics: dict[str, Any]) -> str:
    """The README of a bundle, from its recipe, its manifest and what training measured."""
    numbers = "".join(
        f"| {name.replace('_', ' ')} | {value:.4f} |\n"
        for name, value in metrics.items()
        if isinstance(value, float)
    )
    public = metrics.get("threshold_measured_on")
    chosen_on = public or "the eval part of the training data"
    trained_on = f"{metrics.get('rows_train', 'unknown')} pairs; evaluated on others"
    measured = _MEASURED.format(numbers=numbers)
    if public:
        trained_on, measured = (
            "none of your pairs: the pre-trained model without fine-tuning",
            _UNTRAINED,
        )
    order = "the same" if recipe.symmetric else "not the same"
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return f"""# {recipe.name}

{recipe.description}

Source of the model: {recipe.source}

| | |
| --- | --- |
| gives | {_TASKS[recipe.task]} |
| threshold | {about["threshold"]:.4f}, chosen on {chosen_on} |
| text | tokeniser `{recipe.text.tokenizer}`, at most {recipe.text.max_tokens} tokens count |
| vocabulary | {about["vocabulary_size"]} ids |
| vector of a sentence | {about["dimensions"]} floats |
| trained on | {trained_on} |
| (a, b) and (b, a) | score {order} |

{measured}
## Use

`twinbeam score --input 'pairs/*.parquet' --model BUNDLE --output scores`

Or from TensorFlow alone: the signatures of `saved_model/` take strings (`score`, `encode`) or
vectors (`compare`). tensorflow-text must be imported first.

Made {about["created"]} with {versions}.
"""
