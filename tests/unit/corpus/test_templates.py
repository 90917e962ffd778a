"""Test that Liquid tags and shortcodes are removed, and quoted code and other words are kept."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_assets.corpus.importers.code_regions import split_code_regions
from twin_assets.corpus.importers.hugo_shortcodes import remove_shortcodes
from twin_assets.corpus.importers.jekyll_liquid import remove_liquid

FENCE = "```\n"


@pytest.mark.parametrize(
    ("source", "resolved"),
    [
        ("No tag, 100 % { plain }.", "No tag, 100 % { plain }."),
        ("See [it]({% post_url 2020-01-01-a %}) now.", "See [it]() now."),
        ("See [it]({{ site.baseurl }}/a) now.", "See [it](/a) now."),
        ("{% include figure.html src='a.png' %}\nWords.", "\nWords."),
        ("{% if page.x %}Words{% else %} of mine{% endif %}.", "Words of mine."),
        ("A{% comment %} not for readers {% endcomment %}B", "AB"),
        ("A{% for p in site.posts %}<li>{{ p.title }}{% endfor %}B", "AB"),
        ("{{ 'Café' | upcase }} and {{ \"b\" }}", "Café and b"),
        ("Write {% raw %}{{ page.title }}{% endraw %} there.", "Write `{{ page.title }}` there."),
        ("Write `{% raw %}{{ x }}{% endraw %}` there.", "Write `{{ x }}` there."),
        ("Use `{% include x %}` for it.", "Use `{% include x %}` for it."),
        ("Use ``a ` {% include x %}`` for it.", "Use ``a ` {% include x %}`` for it."),
        ("<pre>{{ x }}</pre> {{ y }}", "<pre>{{ x }}</pre> "),
        (
            f"{FENCE}{{% if a %}}{FENCE}{{% if a %}}text",
            f"{FENCE}{{% if a %}}{FENCE}{{% if a %}}text",
        ),
        (f"{FENCE}{{% a %}}\n{FENCE}{{% a %}}text", f"{FENCE}{{% a %}}\n{FENCE}text"),
        (
            f"{{% raw %}}\n{FENCE}{{{{ x }}}}\n{FENCE}And {{{{ y }}}}.\n{{% endraw %}}{{{{ z }}}}",
            f"\n{FENCE}{{{{ x }}}}\n{FENCE}And {{{{ y }}}}.\n",
        ),
        ("Text\n\n    {% include x %}\n\nText", "Text\n\n    {% include x %}\n\nText"),
        (
            "{% highlight c %}\n{% raw %}{{0}}{% endraw %}\n{% endhighlight %}",
            "{% highlight c %}\n{{0}}\n{% endhighlight %}",
        ),
        (
            "{% codeblock lang:c %}\nint a;\n{% endcodeblock %}",
            "{% highlight lang:c %}\nint a;\n{% endhighlight %}",
        ),
        ("Said:{% blockquote A %}\nOne\nTwo\n{% endblockquote %}", "Said:\n\n> One\n> Two\n\n"),
        ("100 {% of what", "100 {% of what"),
        ("{% comment %} never closed", ""),
    ],
)
def test_liquid_tags_are_removed(source: str, resolved: str) -> None:
    assert remove_liquid(source) == resolved


@pytest.mark.parametrize(
    ("source", "resolved"),
    [
        ("No tag {{ at all }}.", "No tag {{ at all }}."),
        ('See [it]({{< ref "a.md" >}}) now.', "See [it]() now."),
        ('{{< figure src="a.png" >}}\nWords.', "\nWords."),
        ("{{% notice %}}My **words**.{{% /notice %}}", "My **words**."),
        ("Write {{</* ref a */>}} there.", "Write `{{< ref a >}}` there."),
        (f"{FENCE}{{{{</* a */>}}}}\n{FENCE}", f"{FENCE}{{{{< a >}}}}\n{FENCE}"),
        ("Use `{{< a >}}` for it.", "Use `{{< a >}}` for it."),
        ("A{{< t.inline >}}{{ now }}{{< /t.inline >}}B{{< t.inline />}}C", "ABC"),
        (
            "{{< highlight go >}}\nx := `{{< a >}}`\n{{< /highlight >}}",
            "{{< highlight go >}}\nx := `{{< a >}}`\n{{< /highlight >}}",
        ),
        ('{{< quote "A" >}}\nTheirs\n{{< /quote >}}', "\n\n> Theirs\n\n"),
        ("1 {{< 2", "1 {{< 2"),
    ],
)
def test_shortcodes_are_removed(source: str, resolved: str) -> None:
    assert remove_shortcodes(source) == resolved


def test_quoted_code_in_html_becomes_elements_instead_of_fences() -> None:
    assert remove_liquid("<p>`{{ a }}`</p>\n\n    {{ b }}", markup="html") == "<p>``</p>\n\n    "
    quoted = remove_liquid("<p>{% raw %}{{ a }}{% endraw %}</p>", markup="html")
    assert quoted == "<p><code>{{ a }}</code></p>"
    html = remove_shortcodes("{{< quote >}}<p>a</p>{{< /quote >}}", markup="html")
    assert html == "<blockquote><p>a</p></blockquote>"


def test_an_unfinished_shortcode_removes_no_other_one() -> None:
    assert remove_shortcodes("{{</*word {{< a >}}") == "{{</*word "
    assert remove_shortcodes("{{< a word {{< b >}} c") == "{{< a word  c"


MARKS = (
    "{% raw %} {% endraw %} {{ }} {{< a >}} {{< /a >}} {% highlight c %} {% endhighlight %} {% %} "
    "{% comment %} {% endcomment %} {{</* b */>}} {% quote %} {% endquote %} ` ~~~ <pre> </pre> "
    "word"
)
TAGS = re.findall(r"\{[{%<]? ?\S+(?: \S+)? [%>}]\}?\}|\S+", MARKS)
PIECES = st.lists(
    st.sampled_from([*TAGS, "```\n", "    x\n", "\n", "\n\n", "word "]), max_size=40
).map("".join)


@given(PIECES, st.sampled_from(["markdown", "html"]))
def test_regions_cover_the_text(text: str, markup: str) -> None:
    assert "".join(part for part, _ in split_code_regions(text, markup=markup)) == text


@given(PIECES, st.sampled_from(["markdown", "html"]))
def test_no_word_outside_templates_is_lost(text: str, markup: str) -> None:
    words = text.count("word")
    assert remove_shortcodes(text, markup=markup).count("word") == words
    if "{%" not in text and "{{" not in text:
        assert remove_liquid(text, markup=markup) == text


@pytest.mark.long
@pytest.mark.parametrize(
    "piece",
    [
        "{% raw %}",
        "{%",
        "{{",
        "{{< a",
        "`",
        "`` ` ",
        "<pre>",
        "{{<",
        "{% quote %}",
        "{% highlight a %}",
    ],
)
def test_time_is_linear_in_the_length(piece: str) -> None:
    for resolve in (remove_liquid, remove_shortcodes):
        start_s = time.process_time()
        resolve(piece * (500_000 // len(piece)) + "{% x %}{{< x >}}")
        assert time.process_time() - start_s < 5
