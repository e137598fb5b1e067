"""The tokenizer: a byte-level BPE of the study's own, or the one that a profile names."""

from collections.abc import Iterable
from pathlib import Path

from dontstop.errors import StudyError
from dontstop.machine import files, pretrained

# RoBERTa's names for the special tokens; their ids are their indices here, 0 to 4.
SPECIAL_TOKENS = {
    "pad_token": "<pad>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "mask_token": "<mask>",
    "unk_token": "<unk>",
}


def train_tokenizer(texts: Iterable[str], vocabulary_size: int, folder: Path) -> None:
    """Train a byte-level BPE on `texts` and save it as an ordinary Transformers tokenizer.

    Departure: the paper keeps RoBERTa's 50,265-piece vocabulary; an encoder of a million parameters cannot afford
    its embedding matrix, so the small profiles train their own: on the base encoder's text only, as RoBERTa's was, or
    (`tokens.trained_on: all`) on the domains' text too, whose words the first kind cuts into more pieces.

    The texts pass through memory once; the trainer keeps a count of every different word, so its memory grows with the
    number of words that differ, which in real text has no end.

    Raises:
        StudyError: If the text is too small for the vocabulary, or the vocabulary for all bytes.
    """
    smallest = 256 + len(SPECIAL_TOKENS)
    if vocabulary_size < smallest:
        raise StudyError(
            f"tokens.vocabulary_size = {vocabulary_size}",
            f"{smallest} or more: every byte and the special tokens",
            "raise tokens.vocabulary_size",
        )
    from transformers import PreTrainedTokenizerFast

    tokenizer = _train_bpe(texts, vocabulary_size)
    if tokenizer.get_vocab_size() < vocabulary_size:
        raise StudyError(
            f"text that yields only {tokenizer.get_vocab_size()} word pieces",
            f"tokens.vocabulary_size = {vocabulary_size}",
            "lower tokens.vocabulary_size, or give the general corpus more text",
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **SPECIAL_TOKENS, cls_token="<s>", sep_token="</s>", add_prefix_space=True
    )
    with files.saving_folder(folder) as part:
        fast.save_pretrained(part)


def _train_bpe(texts: Iterable[str], vocabulary_size: int):
    """Train a byte-level BPE that puts a start and an end token around every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary_size,
            special_tokens=list(SPECIAL_TOKENS.values()),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    start, end = (tokenizer.token_to_id(SPECIAL_TOKENS[name]) for name in ("bos_token", "eos_token"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", start), ("</s>", end)]
    )
    return tokenizer


def load_tokenizer(folder: Path):
    """Load a saved tokenizer from a folder."""
    from transformers import AutoTokenizer

    if not folder.is_dir():
        raise StudyError(f"no tokenizer in {folder}", "the tokenizer that `dontstop prepare` makes", "run it first")
    return pretrained.load(AutoTokenizer, folder, local_files_only=True)


def load_given(name: str):
    """Load the tokenizer of a folder or hub name.

    Raises:
        StudyError: If it cannot be had.
    """
    from transformers import AutoTokenizer

    try:
        return pretrained.load(AutoTokenizer, name)
    except (OSError, ValueError) as error:
        raise StudyError(
            f"no tokenizer {name}: {str(error).strip().splitlines()[0]}",
            "a folder with tokenizer.json, or an encoder of the hub that can be reached",
            "fetch it where there is a network, and name its folder under tokens.tokenizer",
        ) from error
