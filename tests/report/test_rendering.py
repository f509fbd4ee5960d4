"""What templates put into a page."""

from __future__ import annotations

import pytest

from scratchconv.report.rendering import templates, unbroken


@pytest.mark.parametrize("name", ["S-FC", "S-CONV", "D-LOCAL", "3-FC", "β-LASSO"])
def test_names_stay_on_one_line(name):
    assert unbroken(f"{name} 63.2") == f'<span class="name">{name}</span> 63.2'


def test_what_only_looks_like_a_name_is_left_alone():
    for text in ("CS-FC", "S-FCs", "13-FC", "MNIST-32"):
        assert unbroken(text) == text


def test_hostile_text_is_escaped():
    template = templates().from_string("{{ text | unbroken }}")
    shown = template.render(text="<script>S-FC</script> & \"'")
    assert "<script" not in shown
    assert shown == '&lt;script&gt;<span class="name">S-FC</span>&lt;/script&gt; &amp; &#34;&#39;'
