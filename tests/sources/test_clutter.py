"""The page around a post goes; the author's words stay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.clutter import without_clutter
from pipeline.sources.tidy import tidy

TITLE, SUBTITLE = "How bread rises", "A baker's notes on time and yeast"
AUTHOR, HOST = "Ada Baker", "bread.example.com"
NAMES = (f"{TITLE} - by {AUTHOR}", SUBTITLE, AUTHOR, HOST)

BODY = """\
Yeast eats sugar and leaves gas behind. A good dough holds on to it.

## Time

Let it rest for twelve hours. The longer it rests, the better it tastes."""


def blocks(*lines: str) -> str:
    return "\n\n".join(lines)


BUTTONS = ("Copy link", "Facebook", "Email", "Note", "Other")
WIDGET = blocks("Share this post", f"#### {TITLE}", HOST, *BUTTONS)
HEADLINES = blocks(f"# {TITLE}", f"### {SUBTITLE}", AUTHOR, "May 04, 2024", "12")
HEAD = blocks("#", "SubscribeSign in", WIDGET, HEADLINES, WIDGET, "Share")
COMMENT = "| GuestMay 5Lovely. Which flour?Expand full commentReplyShare  \n---|---\n\n1 reply by Ada Baker"
DISCUSSION = blocks("#### Discussion about this post", "Comments", "Restacks", COMMENT, "Top", "Latest")
FOOTER = blocks("Subscribe", "© 2024 Ada Baker", "Privacy ∙ Terms ∙ Collection notice", "Start WritingGet the app")
SCRIPTS = "This site requires JavaScript to run correctly. Please turn on JavaScript or\nunblock scripts"
TAIL = blocks("12", WIDGET, "Share", "PreviousNext", DISCUSSION, "No posts", "Ready for more?", FOOTER, SCRIPTS)
MENU = blocks(
    *(
        "Ada Baker",
        "  * __Recipes\n  * __About",
        "__",
        "  1. Bread\n  2. How bread rises",
        "# How bread rises",
    ),
    *("Author", "Ada Baker", "Published", "May 4, 2024", "  * **Bread** __\n\n" + "    * Rye\n\n" * 9),
    *("## **Sections**", "  * Time\n  * Heat"),
)
RUN_ON_HEAD = (
    "How bread rises | BakersOpen in appSign upSign inWriteSign upSign inHow bread risesAda Baker·Follow"
    "Published inBakers·3 min read·Mar 16, 20242.1K13ListenShare"
)
RUN_ON_TAIL = (
    "Sign up to discover human stories that deepen your understanding of the world.FreeMembershipBread"
    "Written byAdaSee more recommendationsHelpStatusAboutCareersPressBlogPrivacyTermsText to speechTeams"
    "\n\n\nTo make Medium work, we log user data. By using Medium, you agree to our Privacy Policy."
)


def left_of(text: str, names: tuple[str, ...] = NAMES) -> str:
    return without_clutter(tidy(text, "markdown"), names)


@pytest.mark.parametrize(
    "page",
    [
        f"{HEAD}\n\n{BODY}",
        f"{BODY}\n\n{TAIL}",
        f"{HEAD}\n\n{BODY}\n\n{TAIL}",
        f"{HEAD}\n\n#### _{SUBTITLE}_\n\n{BODY}\n\n{TAIL}",
        f"{MENU}\n\n{BODY}\n\n__Copyright 2023, Ada Baker",
    ],
)
def test_the_page_around_a_post_is_taken_off(page: str) -> None:
    assert left_of(page) == BODY


def test_a_page_needs_no_names_to_be_known() -> None:
    assert left_of(f"{HEAD}\n\n{BODY}\n\n{TAIL}", names=()) == BODY


def test_a_run_on_line_loses_its_page_at_both_ends() -> None:
    words = "Yeast eats sugar.Let it rest for twelve hours."
    assert left_of(RUN_ON_HEAD + words + RUN_ON_TAIL) == words


@pytest.mark.parametrize(
    "own_words",
    [
        f"{BODY}\n\nCopy link and share this post.",
        f"{BODY}\n\nCopy link",
        "## Buttons\n\nA page needs few of them:\n\n  * Copy link\n  * Share this post\n  * Subscribe",
        f"{BODY}\n\n## Note\n\nFlour differs.",
        f"{BODY}\n\n12",
        f"## Note\n\n{BODY}",
        f"{AUTHOR}\n\n{BODY}",
        "Share this post\n\nThese three words stand on every page. Why?",
        f"{BODY}\n\n    share this post\n\n    copy link",
        f"{BODY}\n\n    copy link\n\n12",
        "A line of code\n\n```\nShare this post\n\nCopy link\n```",
    ],
)
def test_an_authors_own_words_stay(own_words: str) -> None:
    assert left_of(own_words) == tidy(own_words, "markdown")


def test_a_widget_in_the_middle_stays() -> None:
    text = f"{BODY}\n\n{WIDGET}\n\n{BODY}"
    assert left_of(text) == text


def test_short_lines_beyond_the_last_mark_stay() -> None:
    assert left_of(f"{HEAD}\n\nPhoto by the author\n\n{BODY}").startswith("Photo by the author")


def test_a_heading_of_the_authors_beside_a_widget_stays() -> None:
    assert left_of(f"{HEAD}\n\n## Note\n\n{BODY}") == f"## Note\n\n{BODY}"


def test_a_page_without_an_article_leaves_nothing() -> None:
    assert left_of(f"{HEAD}\n\n{TAIL}") == ""


@given(st.text() | st.lists(st.sampled_from([HEAD, TAIL, BODY, WIDGET, MENU, "word", "- x"])).map("\n\n".join))
def test_what_is_left_is_a_slice_of_the_text(text: str) -> None:
    tidied = tidy(text, "markdown")
    assert without_clutter(tidied, NAMES) in tidied


@given(
    st.lists(
        st.sampled_from(["Dough rests.", "Why share this post?", "Subscribe to nothing, they say."]),
        min_size=1,
    )
)
def test_prose_loses_nothing(sentences: list[str]) -> None:
    text = "\n\n".join(sentences)
    assert without_clutter(text, NAMES) == text
