"""Pages of HTML become text."""

import pytest

from silverstain.corpora.html import text_of_html

SPHINX = """<!DOCTYPE html><html><head><title>Page</title><style>p {}</style></head><body>
<div class="related" role="navigation"><h3>Navigation</h3><ul><li>next</li></ul></div>
<div class="document"><div class="body" role="main"><section id="a">
<h1>One heading<a class="headerlink" href="#a">¶</a></h1>
<p>A sentence with <em>words</em> in
   it, and <code>code</code>.</p>
<ul><li><p>first</p></li><li><p>second <b>point</b></p></li></ul>
<div class="highlight"><pre><span>def</span> f(x):
    return   x
</pre></div>
<table><tr><th>name</th><td>value</td></tr></table>
<script>var x = "<p>no</p>";</script>
</section></div></div>
<div class="sphinxsidebar" role="navigation"><div><div>deep</div></div>side</div>
<div class="footer">&copy; nobody</div></body></html>"""


def test_what_a_page_says_is_kept_and_its_frame_is_not():
    assert text_of_html(SPHINX) == (
        "One heading\n\nA sentence with words in it, and code.\n\n- first\n\n- second point\n\n"
        "def f(x):\n    return   x\n\nname | value"
    )


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>one<p>two", "one\n\ntwo"),  # never closed
        ("<nav><nav>x</nav>y</nav><p>z</p>", "z"),
        ("<p>a</a></div></p><p>b", "a\n\nb"),  # closed too often
        ("<div class='toc'><div>a</div>b</div>c", "c"),
        ("<p>x &lt; y &amp; z&nbsp;!</p>", "x < y & z !"),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        ("<p>no <b>space</b>s are made</p>", "no spaces are made"),
        ("<pre>\n a\n  b\n</pre>", "a\n  b"),
        ("<page><info><credit>me</credit></info><title>Help</title><p>Do it.</p></page>", "Help\n\nDo it."),
        ("", ""),
    ],
)  # fmt: skip
def test_malformed_and_unusual_pages_are_read(page, text):
    assert text_of_html(page) == text
