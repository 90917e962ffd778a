"""Test the conversion of HTML tags to Markdown."""

from __future__ import annotations

import pytest

from twin_assets.corpus.html_markdown import html_to_markdown


@pytest.mark.parametrize(
    ("html", "markdown"),
    [
        ("<p>a\n  b&nbsp;c<!-- no --> d</p>", "a b c d"),
        ("<p>a<br>b<br/><br/>c</p>", "a\nb\nc"),
        ("<p>a<script>x</script> b<img src='i'> c</p>", "a b c"),
        ("x<p>a</p>y<div>b<p>c</p>d</div>z", "x\n\na\n\ny\n\nb\n\nc\n\nd\n\nz"),
        ("<h2>a <em>b</em><br>c</h2>", "## a *b* c"),
        ("<h3> </h3><p>a</p>", "a"),
        # inline marks adjoin the words regardless of spaces
        ("<p>a<b> b </b>c <i></i><em>d</em>e <s>f</s></p>", "a **b** c *d*e ~~f~~"),
        ("<p><b>a</b><b>b</b> <i>c</i> <i>d</i></p>", "**ab** *c* *d*"),
        ("<del>a<p>b</p></del>c", "~~a~~\n\n~~b~~\n\nc"),
        ("<p><b><i>a</i></b> <q>b <q>c</q></q></p>", '***a*** "b "c""'),
        ("<p><u>a</u> <kbd>b</kbd> <bogus>c</bogus> <a href='/'>d</a></p>", "a b c d"),
        # code
        (
            "<p><code> a  b </code>c <code>`d`</code> <code>e``f</code></p>",
            "`a b` c `` `d` `` ```e``f```",
        ),
        ("<p><code>a<b>b</b></code><code>c</code></p>", "`abc`"),
        ("<p>a</p><code>b<br>c</code><p>d</p>", "a\n\n```\nb\nc\n```\n\nd"),
        (
            "<pre class='language-c'>\n  <b>int</b> x<br>y<!-- c -->;\n</pre>",
            "```c\n  int x\ny;\n```",
        ),
        ("<div class='highlight language-py'><pre>a</pre></div>", "```py\na\n```"),
        ("<pre> \n </pre>", ""),
        # template tags are removed except in code
        ("<p>a {% b %}[^1]c <code>{% d %}</code></p>", "a c `{% d %}`"),
        # numbers, notes, formulas
        ("<p>a<sup>2</sup> b<sub>n</sub> c<sup>th</sup></p>", "a² bn cth"),
        ("<p>a<sup id='fnref1'><a href='#fn1'>[1]</a></sup> b</p>", "a b"),
        ("<p>a <a href='#fnref1'>↩</a><a href='#note'>b</a></p>", "a b"),
        ("<p>a <script type='math/tex; mode=display'>x_1</script></p>", "a $$x_1$$"),
        ("<p>a <math alttext='x_1'><mi>x</mi></math></p>", "a $x_1$"),
        ("<p>&lt;div&gt; &amp;lt; 1 &lt; 2</p>", "\\<div> \\&lt; 1 < 2"),
        # lists
        ("<ul><li>a</li><li><p>b</p></li></ul>", "- a\n\n- b"),
        ("<ol start='9'><li>a<li>b</ol>", "9. a\n10. b"),
        ("<ol start='99999999999999999999'><li>a</ol>", "1. a"),
        ("<ul><li>a<ol><li>b</li></ol></li><li>c</li></ul>", "- a\n  1. b\n- c"),
        ("<ul><li>a</li><ul><li>b</li></ul><li>c</li></ul>", "- a\n  - b\n- c"),
        ("<ul><li><p>a</p><p>b</p></li><li>c</li></ul>", "- a\n\n  b\n\n- c"),
        ("<ul><li>a<pre>b\n\nc</pre></li></ul>", "- a\n\n  ```\n  b\n\n  c\n  ```"),
        ("<dl><dt>a</dt><dd>b</dd></dl>", "- a\n- b"),
        ("<ul> <li> </li> </ul>", ""),
        ("<blockquote>a<p>b</p><ul><li>c</li></ul></blockquote>", "> a\n>\n> b\n>\n> - c"),
        # tables
        (
            "<table><caption>t</caption><tr><th>a</th><th>b</th></tr><tr><td><p>c</p><p>d</p></td>"
            "</tr></table>",
            "t\n\n| a | b |\n| --- | --- |\n| c d |  |",
        ),
        ("<table><tr><td>a|b</td><td>c</td></tr></table>", "| a\\|b | c |"),
        ("<table><tr><td>1</td><td><pre>a</pre></td></tr></table>", "1\n\n```\na\n```"),
        ("<table><tr><td>a</td></tr><tr><td>b</td></tr></table>", "a\n\nb"),
        ("<figure><img><figcaption>a</figcaption></figure><hr>b", "a\n\nb"),
    ],
)
def test_html_becomes_markdown(html: str, markdown: str) -> None:
    assert html_to_markdown(html) == markdown
