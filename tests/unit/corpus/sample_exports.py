"""Define small valid and malformed exports of LinkedIn, Medium and Substack.

Scope: files in the format of the platforms, according to their documentation and to public
parsers. No file is the export of a real person.
"""

from __future__ import annotations

from tests.unit.corpus.export_files import Files

SENTENCE = "The old clock on the wall has a story that nobody in the workshop can tell any more."


def build_link(number: int, urn_type: str = "share") -> str:
    return f"https://www.linkedin.com/feed/update/urn%3Ali%3A{urn_type}%3A{number}"


# Identifiers that contain their time (ms << 22): 2023-05-01 12:34:56.789 and later days.
FIRST, SECOND, THIRD, FOURTH, FIFTH = (
    (1_682_944_496_789 + day * 86_400_000) << 22 for day in range(5)
)

SHARES = (
    "\ufeffDate,ShareLink,ShareCommentary,SharedUrl,MediaUrl,Visibility\n"
    # line breaks between the quotes, one paragraph empty, quotes doubled
    f'2023-05-01 12:34:56,{build_link(FIRST)},"{SENTENCE}"\n""\n'
    f'"He said ""mend it"", and I did. #clocks"\n,,,MEMBER_NETWORK\n'
    # quoted as in the CSV standard, with a comma in an address
    f'2023-05-02 12:34:56,{build_link(SECOND, "ugcPost")},"Two lines,\nboth mine: {SENTENCE}",'
    '"https://example.org/?a=1,2",,PUBLIC\n'
    # another person's post, shared without a comment
    f"2023-05-03 12:34:56,{build_link(THIRD)},,https://example.org/theirs,,MEMBER_NETWORK\n"
    # UTF-8 read as Windows-1252
    f"2023-05-04 12:34:56,{build_link(FOURTH)},Itâ€™s a naÃ¯ve clock. {SENTENCE},,,MEMBER_NETWORK\n"
    f"2023-05-05 12:34:56,{build_link(FIFTH)},For friends. {SENTENCE},,,CONNECTIONS\n"
)
ARTICLE = f"""<html><head><title>On clocks</title></head><body>
<img src="https://media.licdn.com/cover.png" />
<h1><a href="https://www.linkedin.com/pulse/on-clocks-ada-lovelace?trk=x">On clocks</a></h1>
<p class="created">Created on 2022-03-01 09:00</p>
<p class="published">Published on 2022-03-02 10:30</p>
<div><p>{SENTENCE}</p><p>Second paragraph &amp; more.</p></div></body></html>"""
LINKEDIN: Files = {
    "Shares.csv": SHARES,
    "Articles/Articles/on-clocks.html": ARTICLE,
    "Articles/Articles/unfinished.html": ARTICLE.replace(
        '<p class="published">Published on 2022-03-02 10:30</p>', '<p class="published"></p>'
    ).replace("on-clocks-ada-lovelace", "unfinished"),
    "Profile.csv": "First Name,Last Name,Maiden Name\nAda,Lovelace,\n",
    "messages.csv": "FROM,TO,CONTENT\nGrace,Ada,A SECRET OF GRACE\n",
    "Comments.csv": "Date,Link,Message\n2023-05-01 12:00:00,https://x,A COMMENT\n",
}
LINKEDIN_SKIPS = {"bare_reshare": 1, "followers": 1, "draft": 1}
LINKEDIN_COUNT = 4
MALFORMED_LINKEDIN: Files = {
    **LINKEDIN,
    "Shares.csv": SHARES
    + "no date,https://www.linkedin.com/feed/,lost words,,,PUBLIC\n"
    + f'2023-05-06 12:00:00,{build_link(FIFTH + 1)},"torn off in the mid',
    "Shares_17.csv": b"\xff\xfe\x00\x01",
    "Articles/Articles/empty.html": "",
    "Articles/Articles/binary.html": b"\x00\x01\x02",
}
MALFORMED_LINKEDIN_SKIPS = LINKEDIN_SKIPS | {"malformed_row": 2, "torn": 1, "empty": 1, "binary": 1}


def build_medium_page(
    body: str, *, title: str = "On clocks", subtitle: str = "A subtitle", published: str = ""
) -> str:
    """Return a story as Medium exports it; without `published`, it is a draft."""
    summary = f'<section data-field="subtitle" class="p-summary">\n{subtitle}\n</section>'
    date = f'<time class="dt-published" datetime="{published}">a day</time>'
    author_link = '<a href="https://medium.com/@ada" class="p-author h-card">Ada Lovelace</a>'
    footer = f"<footer><p>By {author_link} on {date}.</p><p><a " if published else "<footer><p><a "
    return (
        f"<!DOCTYPE html><html><head><title>{title}</title><style>* {{ }}</style></head><body>"
        f'<article class="h-entry">\n<header>\n<h1 class="p-name">{title}</h1>\n</header>\n'
        f"{summary if subtitle else ''}\n"
        f'<section data-field="body" class="e-content">\n<section class="section section--body">'
        f'<div class="section-divider"><hr class="section-divider"></div>'
        f'<div class="section-content"><div class="section-inner">{body}</div></div></section>\n'
        f'</section>\n{footer}href="https://medium.com/@ada/on-clocks-0123456789ab" '
        'class="p-canonical">Canonical link</a></p><p>Exported from <a href="https://medium.com">'
        "Medium</a> on May 1, 2024.</p></footer></article></body></html>"
    )


STORY = build_medium_page(
    '<h3 class="graf graf--h3 graf--leading graf--title">On clocks</h3>'
    f'<p class="graf graf--p">{SENTENCE}</p><pre class="graf graf--pre">tick()</pre>'
    '<div class="graf graf--mixtapeEmbed"><a href="https://example.org">A CARD OF OTHERS</a></div>'
    '<figure class="graf graf--figure graf--iframe"><iframe src="x"></iframe>A FRAME</figure>',
    published="2020-01-02T03:04:05.678Z",
)
RESPONSE = build_medium_page(
    f'<p class="graf graf--p">I agree with you. {SENTENCE}</p>',
    title="I agree with you. The old clock…",
    subtitle="",
    published="2021-01-02T03:04:05.678Z",
)
DRAFT = build_medium_page(f'<p class="graf graf--p">Not yet. {SENTENCE}</p>', title="Not yet")
MEDIUM: Files = {
    "posts/2020-01-02_On-clocks-0123456789ab.html": STORY,
    "posts/2021-01-02_I-agree-with-you-aaaaaaaaaaaa.html": RESPONSE,
    "posts/draft_Not-yet-bbbbbbbbbbbb.html": DRAFT,
    "claps/claps-0001.html": "<html><body>CLAPS OF OTHERS</body></html>",
    "ips/ips-0001.html": "<html><body>192.0.2.7</body></html>",
    "profile/profile.html": "<html><body>ada@example.org</body></html>",
}
MEDIUM_SKIPS = {"reply": 1, "draft": 1}
MEDIUM_COUNT = 1
MALFORMED_MEDIUM: Files = {
    **MEDIUM,
    "posts/2022-01-02_No-entry-cccccccccccc.html": "<html><body><p>no h-entry</p></body></html>",
    "posts/2022-01-03_Empty-dddddddddddd.html": b"",
    "posts/2022-01-04_Binary-eeeeeeeeeeee.html": b"\x00\x00",
    "posts/2022-01-05_Torn-ffffffffffff.html": STORY[: STORY.index("e-content") - 20],
    "posts/2022-01-06_Only-pictures-abcdefabcdef.html": build_medium_page(
        '<figure class="graf graf--figure"><img src="x"></figure>', published="2022-01-06T00:00:00Z"
    ),
}
MALFORMED_MEDIUM_SKIPS = MEDIUM_SKIPS | {"not_a_post": 2, "empty": 1, "binary": 1, "no_text": 1}

POSTS_CSV = (
    "post_id,post_date,is_published,email_sent_at,inbox_sent_at,type,audience,title,subtitle,"
    "podcast_url\n"
    '101.on-clocks,2024-03-01T10:00:00.000Z,true,,,newsletter,everyone,"On clocks, again",'
    "What they tell,\n"
    "102.paid,2024-03-02T10:00:00.000Z,true,,,newsletter,only_paid,Paid,,\n"
    "103.half,2024-03-03T10:00:00.000Z,true,,,newsletter,everyone,Half paid,,\n"
    "104.draft,,false,,,newsletter,everyone,,,\n"
    "105.for-subscribers,2024-03-05T10:00:00.000Z,true,,,newsletter,only_free,Free list,,\n"
    "106.audio,2024-03-06T10:00:00.000Z,true,,,podcast,everyone,An episode,,https://x/a.mp3\n"
    '107.question,2024-03-07T10:00:00.000Z,true,,,thread,everyone,"Two\nlines",,\n'
)
WIDGETS = (
    '<p class="button-wrapper" data-attrs="{}"><a class="button primary" href="https://x">'
    "<span>SUBSCRIBE NOW</span></a></p>"
    '<div class="subscription-widget-wrap-editor" data-component-name="SubscribeWidgetToDOM">'
    '<p class="cta-caption">THANKS FOR READING</p></div>'
    '<div class="tweet" data-component-name="Twitter2ToDOM"><p>A TWEET OF OTHERS</p></div>'
    '<div class="digest-post-embed" data-component-name="DigestPostEmbed">A CARD OF OTHERS</div>'
)
SUBSTACK: Files = {
    "posts.csv": POSTS_CSV,
    "posts/101.on-clocks.html": f"<h2>First</h2><p>{SENTENCE}</p>{WIDGETS}<p>The end.</p>",
    "posts/102.paid.html": f"<p>PAID WORDS {SENTENCE}</p>",
    "posts/103.half.html": f"<p>{SENTENCE}</p><div class='paywall-jump' "
    "data-component-name='PaywallToDOM'></div><p>PAID WORDS</p>",
    "posts/104.draft.html": "<p>DRAFT WORDS</p>",
    "posts/105.for-subscribers.html": f"<p>LIST WORDS {SENTENCE}</p>",
    "posts/107.question.html": f"<p>A question: {SENTENCE}</p>",
    "posts/101.delivers.csv": "post_id,timestamp,email\n101,x,reader@example.org\n",
    "email_list.ada.csv": "email\nreader@example.org\n",
}
SUBSTACK_SKIPS = {"paid": 1, "draft": 1, "followers": 1, "no_text": 1}
SUBSTACK_COUNT = 3
MALFORMED_SUBSTACK: Files = {
    **SUBSTACK,
    "posts.csv": POSTS_CSV.replace('"Two\nlines"', '"Two\nlines, never closed').replace(
        "104.draft",
        "not a number,2024,true\n\n"
        "108.no-page,2024-03-08,true,,,newsletter,everyone,Gone,,\n104.draft",
    ),
    "posts/109.orphan.html": "<p>ORPHAN WORDS</p>",
}
MALFORMED_SUBSTACK_SKIPS = SUBSTACK_SKIPS | {
    "no_text": 2,
    "malformed_row": 2,
    "not_in_posts_csv": 2,
}

EXPORTS = {"linkedin": LINKEDIN, "medium": MEDIUM, "substack": SUBSTACK}
SKIP_COUNTS = {"linkedin": LINKEDIN_SKIPS, "medium": MEDIUM_SKIPS, "substack": SUBSTACK_SKIPS}
RECORD_COUNTS = {"linkedin": LINKEDIN_COUNT, "medium": MEDIUM_COUNT, "substack": SUBSTACK_COUNT}
MALFORMED_EXPORTS = {
    "linkedin": MALFORMED_LINKEDIN,
    "medium": MALFORMED_MEDIUM,
    "substack": MALFORMED_SUBSTACK,
}
MALFORMED_SKIP_COUNTS = {
    "linkedin": MALFORMED_LINKEDIN_SKIPS,
    "medium": MALFORMED_MEDIUM_SKIPS,
    "substack": MALFORMED_SUBSTACK_SKIPS,
}
TEXT_BY_OTHERS = (
    "SECRET OF GRACE",
    "A COMMENT",
    "OF OTHERS",
    "A FRAME",
    "192.0.2.7",
    "@example.org",
    "SUBSCRIBE NOW",
    "THANKS FOR READING",
)
