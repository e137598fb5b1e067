"""Docstrings found and parsed, and cut into passages of English by the section they stood in."""

import contextlib
import os
import platform
import textwrap

import pytest

from conftest import PROJECT
from dontstop.errors import StudyError
from dontstop.machine import processes
from dontstop.text import docstrings, packages, remarks
from dontstop.text.passages import read_passages
from dontstop.text.prose import clean_inline, is_english

NUMPYDOC = """\
Smooth a signal with a moving window.

The window may be of any :class:`~signals.windows.Window` kind, and its
length is in samples.

.. note::

   The edges of the signal are mirrored first.

Parameters
----------
x : array_like of shape (n,)
    The signal that is to be smoothed.
    It may hold missing values.
width, shift : int, optional
    The number of samples in the window.

Returns
-------
smooth : ndarray
    The signal after it was smoothed.

Raises
------
ValueError
    If the window is wider than the signal.

See Also
--------
sharpen : Does the opposite of this function.
blur

Notes
-----
========  =======
kind      weight
========  =======
flat      one
========  =======

The smoothed signal is shorter than the first by one window [1]_::

    y[n] = sum(x[n - k])

References
----------
.. [1] A. Author, "On the smoothing of the signals", Journal of Windows and of Filters.

Examples
--------
Take the mean of every three samples:

>>> smooth([1, 2, 3])
array([2])
"""

GOOGLE = """\
Sends a batch to the device that was asked for.

Args:
    batch (`dict[str, Tensor (or list)]`, *optional*):
        The batch that is to be sent, by name.
    device (torch.device): The device that will hold it
        until the end of the step.

Returns:
    `dict`: The same batch on the other device.

Raises:
    ValueError: If there is no such device.

Note: this waits for the copy to be over.

Example::

    send(batch, "cpu")

And this is again ordinary text.
"""

REST = """\
Open the file that is named.

:param str path: where the file is to be found
:type path: str
:returns: the handle of the open file
:raises OSError: if there is not any such file
"""


def sections(docstring):
    found = {}
    for passage in read_passages(docstring):
        found.setdefault(passage.section, []).append(passage.text)
    return found


def test_numpydoc_sections():
    assert sections(NUMPYDOC) == {
        "summary": ["Smooth a signal with a moving window."],
        "other": [
            "The window may be of any Window kind, and its length is in samples.",
            "The edges of the signal are mirrored first.",
        ],
        "parameter": [
            "The signal that is to be smoothed. It may hold missing values.",
            "The number of samples in the window.",
        ],
        "returns": ["The signal after it was smoothed."],
        "raises": ["If the window is wider than the signal."],
        "see_also": ["Does the opposite of this function."],
        "notes": ["The smoothed signal is shorter than the first by one window:"],
        "references": ['A. Author, "On the smoothing of the signals", Journal of Windows and of Filters.'],
        "examples": ["Take the mean of every three samples:"],
    }


def test_google_sections():
    assert sections(GOOGLE) == {
        "summary": ["Sends a batch to the device that was asked for."],
        "parameter": [
            "The batch that is to be sent, by name.",
            "The device that will hold it until the end of the step.",
        ],
        "returns": ["The same batch on the other device."],
        "raises": ["If there is no such device."],
        "notes": ["this waits for the copy to be over."],
        "other": ["And this is again ordinary text."],
    }


def test_restructured_fields():
    assert sections(REST) == {
        "summary": ["Open the file that is named."],
        "parameter": ["where the file is to be found"],
        "returns": ["the handle of the open file"],
        "raises": ["if there is not any such file"],
    }


def test_sympy_headings_and_titles():
    docstring = (
        "A Title\n=======\n\nThis opens the text of the module.\n\nExplanation\n===========\n\nIt is all so that it is."
    )
    assert sections(docstring) == {
        "summary": ["This opens the text of the module."],
        "notes": ["It is all so that it is."],
    }


@pytest.mark.parametrize(
    "dropped",
    [
        "```python\nthe value of the call is in the cell\n```",
        ">>> the value of the call\nis in the cell of it",
        ".. math::\n\n   the sum of all the terms in it",
        ".. code-block:: python\n\n    the value of the call is in it",
        ".. versionadded:: 1.2\n   The option that is in the call.",
        "+-----+\n| the value of it is in a cell |\n+-----+",
        "{the_docstring_of_it}",
        "the_value = call(of_it, 2) + [3]",
    ],
)
def test_code_tables_and_markup_are_dropped(dropped):
    docstring = f"This is the first of the lines.\n\n{dropped}\n\nThis is the last of the lines."
    texts = [passage.text for passage in read_passages(docstring)]
    assert texts == ["This is the first of the lines.", "This is the last of the lines."]


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        ("see :func:`~a.b.mean` and :ref:`the guide <guide>`", "see mean and the guide"),
        ("``x`` is *never* **more** than `y`", "x is never more than y"),
        ("as in `this page <https://a.org/b>`_ or [that one](https://a.org)", "as in this page or that one"),
        ("the angle :math:`\\alpha_{i}` of the line [2]_.", "the angle alpha_i of the line."),
        ("draw on the `~.axes.Axes` by `.Axes.draw`", "draw on the Axes by Axes.draw"),
        ("found at https://a.org/b?c=d in the end", "found at in the end"),
        ("a [`~models.Encoder`] of %(kind)s text", "a Encoder of text"),
    ],
)
def test_inline_markup_gives_way_to_its_text(marked, plain):
    assert clean_inline(marked) == plain


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("Return the sum of the squares of all values.", True),
        ("Elliptic digital and analog filter design.", True),
        ("x = f(a, b) + g[c] ** 2 - h", False),
        ("foo bar baz qux quux corge grault", False),
        ("of the", False),
        ("", False),
    ],
)
def test_english_is_told_from_code(text, english):
    assert is_english(text) is english


def test_docstrings_are_parsed_and_never_run():
    source = textwrap.dedent('''
        """The module's own docstring."""
        raise SystemExit("this must not run")

        class Box:
            """A box that holds things."""

            def open(self):
                """Open the box with care."""

            @property
            async def lid(self):
                "The lid of the box."

        def bare():
            return """not a docstring"""

        add_docstr(box.shut, """Shut the box again.""" + "")
    ''')
    assert dict(docstrings.parse_docstrings(source, "m")) == {
        "m": "The module's own docstring.",
        "m.Box": "A box that holds things.",
        "m.Box.open": "Open the box with care.",
        "m.Box.lid": "The lid of the box.",
        "m.box.shut": "Shut the box again.",
    }


@pytest.mark.parametrize("source", ["def (", "\0", "(" * 10_000])
def test_source_that_does_not_parse_gives_nothing(source):
    assert list(docstrings.parse_docstrings(source, "m")) == []


def test_pinned_names(tmp_path):
    path = tmp_path / "constraints.txt"
    path.write_text("# pins\nNumPy==2.4 ; python_version < '3.12'\nnumpy==2.5\nruamel.yaml==1\nfree>=2\n")
    assert packages.pinned_names(path) == ["numpy", "ruamel-yaml"]
    path.write_text("free>=2\n")
    with pytest.raises(StudyError, match="no pinned package"):
        packages.pinned_names(path)
    with pytest.raises(StudyError, match="no file"):
        packages.pinned_names(tmp_path / "none.txt")


def test_files_of_a_package_leave_out_its_tests():
    modules = [module for module, _ in packages.package_files("pluggy")]
    assert "pluggy" in modules and "pluggy._hooks" in modules and modules == sorted(modules)
    assert not [m for m, _ in packages.package_files("scipy") if ".tests." in m or ".test_" in m]


def test_reading_a_package_twice_gives_the_same_documents():
    first = docstrings.read_packages(["pluggy", "iniconfig"], max_documents=40)
    assert first == docstrings.read_packages(["iniconfig", "pluggy"], max_documents=40)
    assert first == sorted(first, key=lambda document: document.id)
    assert len({document.id for document in first}) == len(first) >= 20
    assert {document.source for document in first} <= {"pluggy", "iniconfig"}
    assert all(document.id.startswith(f"{document.source}:{document.module}") for document in first)


@pytest.mark.parametrize("num_cores", [1, 3, 100])
def test_docstrings_are_read_on_the_cores_that_the_process_may_use(monkeypatch, num_cores):
    asked = []

    @contextlib.contextmanager
    def workers(num_workers):
        asked.append(num_workers)
        yield lambda name, function, *arguments: processes.Result(lambda: function(*arguments), name)

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(num_cores)), raising=False)
    monkeypatch.setattr(docstrings, "text_workers", workers)
    assert docstrings.read_packages(["iniconfig"]) and asked == [min(num_cores, 8)]


def test_not_installed_packages_have_no_version():
    assert set(packages.installed_versions(["pluggy", "no-such-package-here"])) == {"pluggy"}


def test_versions_other_than_the_pinned_are_told(tmp_path):
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(
        "# made by hand\nnumpy==1.0\npytest>=1\nnot-installed==1\ntorch==9 ; sys_platform == 'nowhere'\n"
    )
    phrases = packages.differing_versions(constraints)
    assert len(phrases) == 1 and phrases[0].startswith("numpy ") and phrases[0].endswith(" is installed, 1.0 is pinned")


COMMENTED = '''"""A docstring # that is long enough, with a hash in it that is no comment of any kind at all."""
# This comment is one that goes on over two lines, as comments of some
# length do, and ends here.
#
# Too short a paragraph.
x = "# a string that looks as if it were a comment of twelve words, which it is not"  # behind code

# Copyright of the authors, who say what may be done with this file and what may not be done.
def f():
    # for k in range(10): if x[k] is not None and y[k] is not None: z = x[k] + y[k] + g(x, y)
    #
    # A second comment stands inside of a function, where it is as good as any that is outside.
    return 1
'''


def test_comments_of_some_length_are_read_and_code_strings_and_licences_are_not():
    found = remarks.read_comments(COMMENTED)
    assert [passage.text for passage in found] == [
        "This comment is one that goes on over two lines, as comments of some length do, and ends here.",
        "A second comment stands inside of a function, where it is as good as any that is outside.",
    ]
    assert {passage.section for passage in found} == {remarks.COMMENT}


def test_a_readme_loses_its_headings_badges_and_code():
    description = (
        "# A package of some name\n[![badge](https://x.y/z.svg)](https://x.y)\n\nIt does what the other one does, "
        "but it is faster.\n\n```python\nimport it\n```\n\n<p align='center'>of no use to anybody who reads</p>\n"
    )
    assert [p.text for p in remarks.read_readme(description)] == ["It does what the other one does, but it is faster."]


def test_topics_are_read_without_being_run():
    source = "# made by hand\ntopics = {'b': 'second' ' half',\n 'a': 'first'}\nother = print\n"
    assert list(remarks.parse_topics(source)) == [("a", "first"), ("b", "second half")]
    real = dict(remarks.parse_topics(packages.language_topics_file().read_text(encoding="utf-8")))
    assert "assert" in real and "statement" in real["assert"]


def test_comments_and_readmes_are_documents_but_no_docstrings():
    found = docstrings.read_packages(["pluggy"])
    kinds = {document.id: document.is_docstring for document in found}
    assert kinds["pluggy:README"] is False
    assert {kind for name, kind in kinds.items() if name.endswith("#comments")} == {False}
    assert {kind for name, kind in kinds.items() if not name.endswith(("#comments", ":README"))} == {True}


def test_general_is_the_standard_library_and_what_is_near_no_domain():
    found = packages.general_packages(["numpy", "pytest", "statsmodels", "dontstop", "pillow"], ["numpy"])
    assert found == ["pillow", "pytest", packages.STANDARD_LIBRARY]
    pinned = set(packages.pinned_names(PROJECT / "constraints.txt"))
    assert set(packages.LEFT_OUT) | set(packages.KEPT) <= pinned and not set(packages.LEFT_OUT) & set(packages.KEPT)


def test_the_standard_library_is_read_without_its_tests_and_without_what_is_near_a_domain():
    modules = {module for module, _ in packages.package_files(packages.STANDARD_LIBRARY)}
    assert {"argparse", "asyncio.locks"} <= modules
    assert not {m for m in modules if m.split(".")[0] in {"test", "statistics", "random", "site-packages", "numpy"}}


def test_another_python_than_the_noted_one_is_told(tmp_path):
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(f"# pins\n# text of Python {platform.python_version()}\nnot-installed==1\n")
    assert packages.differing_versions(constraints) == []
    constraints.write_text("# text of Python 3.9.1\n")
    (phrase,) = packages.differing_versions(constraints)
    assert phrase.startswith(f"Python {platform.python_version()} runs") and "3.9.1" in phrase
