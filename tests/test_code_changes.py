"""The changes of code by which the tests of a module are judged: each is made alone, and words for people stay."""

from reliability.code_changes import changed, changes

SOURCE = '''def f(x: int=3, *, y=True):
    """Whether 3 < 4."""
    if x < 2 and (not y):
        raise ValueError(1 + 2)
    LOG.info(5)
    x.sort()
    return 'a' + str(x + 0.0)
'''


def test_every_change_is_made_alone_and_words_for_people_stay():
    found = [(change.line, change.was, change.now) for change in changes(SOURCE)]
    assert found == [
        (1, "3", "4"), (1, "True", "False"),
        (3, "2", "3"), (3, "x < 2", "x <= 2"), (3, "not y", "y"), (3, "x < 2 and (not y)", "x < 2 or not y"),
        (3, "x < 2 and (not y)", "False"),
        (6, "x.sort()", "pass"),
        (7, "0.0", "1.0"), (7, "x + 0.0", "x - 0.0"),
    ]  # fmt: skip
    for number, (line, was, now) in enumerate(found):
        before, after = SOURCE.splitlines(), changed(SOURCE, number).splitlines()
        differing = [place for place, pair in enumerate(zip(before, after, strict=True), 1) if pair[0] != pair[1]]
        assert differing == [line] and now in after[line - 1], was
