"""The list of departures is complete, and the page that shows it is in step with the code."""

from dontstop import departures


def test_a_departure_is_found_in_docstrings_and_comments(tmp_path):
    source = """# Departure: a comment,
# over two lines.


def f():
    '''Do.

    Departure: one
    reason.
    Source: x.
    '''
"""
    (tmp_path / "text.py").write_text(source)
    assert departures.collect(tmp_path) == [("text.f", "one reason."), ("text", "a comment, over two lines.")]


def test_the_page_is_in_step(project):
    page = (project / "docs" / "departures.md").read_text(encoding="utf-8")
    assert page == departures.to_markdown(), "run: dontstop departures > docs/departures.md"
