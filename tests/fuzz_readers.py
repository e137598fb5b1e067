"""Guided by coverage: bytes that reach new code of the readers are kept and changed further (needs atheris).

`python tests/fuzz_readers.py -runs=20000`; options are those of libFuzzer. What comes back is rows or a StudyError:
anything else, or a file that takes over ten seconds, ends the run with the bytes that did it.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["dontstop.text.documents", "dontstop.text.readers", "dontstop.text.unpacking"]
):
    from dontstop.text import documents
from dontstop.errors import StudyError
from dontstop.profiles import Text

ENDINGS = (".jsonl", ".json", ".csv", ".txt", ".parquet", ".jsonl.gz", ".csv.bz2", ".txt.xz", ".jsonl.zst")
SETTINGS = Text(max_line_megabytes=1, empty_rows="skip", bad_rows="skip")
SEEDS = (
    b'\0{"text": "a b", "label": "x"}\n{"text": "", "label": 1}\n',
    b'\1[{"text": "a", "label": "x"}, {"text": null}]',
    b'\2text,label\n"a, ""b""",x\nc,y\n',
    b"\3one\r\ntwo\n\xef\xbb\xbf",
)
FOLDER = Path(tempfile.mkdtemp())


def read(content: bytes) -> None:
    """Read bytes as a file whose format the first of them says."""
    path = FOLDER / f"a{ENDINGS[content[0] % len(ENDINGS)] if content else '.txt'}"
    path.write_bytes(content[1:])
    fields = ("text",) if ".txt" in path.name else ("text", "label")
    refused = documents.Refused(SETTINGS)
    try:
        rows = list(documents.read_documents(path, fields, refused=refused))
    except StudyError as error:
        assert path.name in error.found and error.expected and error.remedy
        return
    assert all(isinstance(row[field], str) and row[field].strip() for row in rows for field in fields)


def main() -> None:
    """Fuzz, beginning with some whole files."""
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS):
        (corpus / str(number)).write_bytes(seed)
    atheris.Setup([*sys.argv, "-timeout=10", "-rss_limit_mb=1500", f"-artifact_prefix={FOLDER}/", str(corpus)], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
