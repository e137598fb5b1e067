"""The one error that users see: what was found, what was expected, what to do."""


class StudyError(Exception):
    """A problem of the user's, told in the domain's words.

    Args:
        found: What stands there, with its place (file, line, setting).
        expected: What the study needs instead.
        remedy: What the user does next, as an imperative.
    """

    def __init__(self, found: str, expected: str, remedy: str):
        self.found, self.expected, self.remedy = found, expected, remedy
        super().__init__(f"found: {found}\nexpected: {expected}\ndo this: {remedy}")

    def __reduce__(self):
        # Exceptions cross process boundaries by their arguments, and ours are three.
        return type(self), (self.found, self.expected, self.remedy)
