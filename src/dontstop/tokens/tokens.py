"""Tokenizer training, and token stores: one flat memory-mapped array with document offsets."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dontstop.errors import StudyError
from dontstop.machine import files
from dontstop.machine.processes import num_cores
from dontstop.tokens import encoding
from dontstop.tokens.encoding import Encoding

# RoBERTa's names for the special tokens; their ids are their places here, 0 to 4.
SPECIAL_TOKENS = {
    "pad_token": "<pad>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "mask_token": "<mask>",
    "unk_token": "<unk>",
}


@contextlib.contextmanager
def saving_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside `folder`, and put it in `folder`'s place once the block has ended well.

    For what Transformers saves by itself: its writers in Rust raise errors of their own when the disk is full.

    Raises:
        StudyError: If the disk is full; nothing half-written stays.
    """
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.mkdir(parents=True)
        yield part
        for path in part.iterdir():
            files.sync_folder(path)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
        files.sync_folder(folder.parent)
    except Exception as error:
        if any(sign in str(error) for sign in ("No space", "StorageFull", "too large", "quota")):
            raise StudyError(
                f"no space left while writing {folder}",
                "room for its files on that disk or quota",
                "free some space and give the same command again: what is finished is kept",
            ) from error
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def train_tokenizer(texts: Iterable[str], vocabulary_size: int, folder: Path) -> None:
    """Train a byte-level BPE on `texts` and save it as an ordinary Transformers tokenizer.

    Departure: the paper keeps RoBERTa's 50,265-piece vocabulary; an encoder of a million parameters cannot afford
    its embedding matrix, so the small profiles train their own, on the base encoder's text only, as RoBERTa's was.

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
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

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
    if tokenizer.get_vocab_size() < vocabulary_size:
        raise StudyError(
            f"text that yields only {tokenizer.get_vocab_size()} word pieces",
            f"tokens.vocabulary_size = {vocabulary_size}",
            "lower tokens.vocabulary_size, or give the general corpus more text",
        )
    start, end = (tokenizer.token_to_id(SPECIAL_TOKENS[name]) for name in ("bos_token", "eos_token"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", start), ("</s>", end)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **SPECIAL_TOKENS, cls_token="<s>", sep_token="</s>", add_prefix_space=True
    )
    with saving_folder(folder) as part:
        fast.save_pretrained(part)


def load_tokenizer(folder: Path):
    """Load a saved tokenizer from a folder."""
    from transformers import AutoTokenizer

    if not folder.is_dir():
        raise StudyError(f"no tokenizer in {folder}", "the tokenizer that `dontstop prepare` makes", "run it first")
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@dataclass(frozen=True)
class TokenStore:
    """Token ids of many documents in one flat array.

    Attributes:
        ids: (num_tokens,) memory-mapped uint16 (uint32 for vocabularies above 65,536), special tokens included.
        offsets: (num_documents + 1,) int64; document i is ids[offsets[i]:offsets[i + 1]].
    """

    ids: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def document(self, index: int) -> np.ndarray:
        """Return one document's token ids, (num_tokens_of_document,)."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def num_sequences(self, length: int) -> int:
        """How many whole sequences of `length` tokens the flat array holds."""
        return len(self.ids) // length

    def sequences(self, indices: np.ndarray, length: int) -> np.ndarray:
        """Return packed sequences: the flat array cut every `length` tokens.

        Documents follow one another with their start and end tokens, as in RoBERTa's FULL-SENTENCES packing.

        Args:
            indices: (num,) which sequences, each below `num_sequences(length)`.

        Returns:
            (num, length) int64 token ids.
        """
        places = indices[:, None] * length + np.arange(length)[None, :]
        return self.ids[places].astype(np.int64)


def write_token_store(documents: Iterable[str], tokenizer, folder: Path, max_length: int | None = None) -> None:
    """Tokenise documents once and write them as a token store.

    Args:
        max_length: Cut every document to this many tokens, special ones included; None keeps all.
    """
    encoding.write_store(documents, Encoding.of(tokenizer, max_length), folder)


def load_token_store(folder: Path) -> TokenStore:
    """Map a token store into memory.

    Raises:
        StudyError: If it is missing, or its two files do not fit together (a copy cut short, say).
    """
    try:
        ids = np.load(folder / "ids.npy", mmap_mode="r", allow_pickle=False)
        offsets = np.load(folder / "offsets.npy", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError) as error:
        raise StudyError(
            f"no readable token store in {folder} ({error})", "ids.npy and offsets.npy", "run `dontstop prepare`"
        ) from error
    if len(offsets) == 0 or offsets[-1] != len(ids):
        raise StudyError(
            f"{len(ids)} tokens in {folder}, {offsets[-1] if len(offsets) else 'no'} by its offsets",
            "files of one and the same store",
            "delete the folder and run `dontstop prepare`",
        )
    return TokenStore(ids, offsets)


def cut(store: TokenStore, max_length: int) -> TokenStore:
    """Return a store whose documents have at most `max_length` tokens, their end token kept."""
    documents = [store.document(index) for index in range(len(store))]
    documents = [d if len(d) <= max_length else np.concatenate([d[: max_length - 1], d[-1:]]) for d in documents]
    offsets = np.concatenate([[0], np.cumsum([len(d) for d in documents], dtype=np.int64)])
    return TokenStore(np.concatenate(documents), offsets)


def longest_example(profile, tasks: Sequence[str]) -> int:
    """Return the tokens that examples are stored with at most: the largest `max_length` that any task asks for."""
    return max(profile.finetune_for(task).max_length for task in tasks)


def check_given(profile) -> None:
    """Make sure that the tokenizer that a profile names can be had, before hours go into reading its text.

    Raises:
        StudyError: If it cannot.
    """
    if profile.tokens.tokenizer is not None:
        _load_given(profile.tokens.tokenizer)


def _load_given(name: str):
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise StudyError(
            f"no tokenizer {name}: {str(error).strip().splitlines()[0]}",
            "a folder with tokenizer.json, or an encoder of the hub that can be reached",
            "fetch it where there is a network, and name its folder under tokens.tokenizer",
        ) from error


def prepare_tokens(profile, paths, domains: Sequence[str], tasks: Sequence[str]) -> None:
    """Train or copy the tokenizer, tokenise every text of a prepared study once, and write what was made.

    The manifest (digests and counts of every store) comes last: where it stands, all else stands.
    """
    manifest = paths.data / "tokens" / "manifest.json"
    manifest.unlink(missing_ok=True)
    if profile.tokens.tokenizer is None:
        texts = (row["text"] for row in files.read_rows(paths.corpus("general")))
        train_tokenizer(texts, profile.tokens.vocabulary_size, paths.tokenizer())
    else:
        tokenizer = _load_given(profile.tokens.tokenizer)
        with saving_folder(paths.tokenizer()) as part:
            tokenizer.save_pretrained(part)
    tokenizer = load_tokenizer(paths.tokenizer())
    longest = longest_example(profile, tasks)
    sources = {f"corpora/{d}": (paths.corpus(d), None) for d in domains}
    sources |= {f"held_out/{d}": (paths.held_out(d), None) for d in domains}
    sources |= {f"tasks/{t}/{s}": (paths.split(t, s), longest) for t in tasks for s in ("train", "dev", "test")}
    stores = {
        name: encoding.Store(path, paths.data / "tokens" / name, Encoding.of(tokenizer, max_length))
        for name, (path, max_length) in sources.items()
    }
    encoding.write_stores(stores, profile.speed.num_workers or num_cores())
    entries = {name: _entry(store.folder) for name, store in stores.items()}
    digest = files.digest(paths.tokenizer() / "tokenizer.json")
    files.write_json(manifest, {"tokenizer": digest, "vocabulary_size": len(tokenizer), "stores": entries})


def _entry(folder: Path) -> dict:
    store = load_token_store(folder)
    counts = {"num_documents": len(store), "num_tokens": len(store.ids)}
    return counts | {"sha256": files.digest(folder / "ids.npy")}
