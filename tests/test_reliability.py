"""The page on reliability is what the long tests have written."""

import reliability


def test_nobody_has_edited_the_page():
    page, wanted = reliability.written()
    assert page == wanted and page.count("| tests/test_") >= 1
    for _, _, tests in reliability.FAULTS:
        assert all((reliability.DOCS.parent / "tests" / f"{name}.py").is_file() for name in tests.split(", "))
