"""A page of one column without a script, in the look of the chat page; it loads nothing."""
# pyright: strict

from __future__ import annotations

from html import escape

_STYLE = """
body { margin: 0; background: #faf8f4; color: #292524; font: 18px/1.6 ui-serif, Georgia, serif; }
main { max-width: 44rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; }
blockquote { margin: 1rem 0; padding-left: 1rem; border-left: 3px solid #0f766e; }
pre { overflow-x: auto; font-size: .85em; }
a { color: #0f766e; }
.twin-prose { margin: 1rem 0; padding: .75rem 1rem; border: 1px dashed #a8a29e; }
.twin-prose { border-radius: 8px; font: 16px/1.55 system-ui, sans-serif; }
.twin-prose-label { margin: 0; font-weight: 600; font-size: 14px; }
p.facts { font: 14px/1.5 system-ui, sans-serif; color: #57534e; }
@media (prefers-color-scheme: dark) {
  body { background: #1c1917; color: #e7e5e4; }
  a { color: #2dd4bf; }
  p.facts { color: #a8a29e; }
}
"""


def render_page(title: str, body: str, *, style: str = "", language: str = "") -> str:
    """Return an HTML document.

    Args:
        title: its title and heading, as text.
        body: HTML below the heading.
        style: further CSS.
        language: of its words, for a screen reader; empty if they are an author's.
    """
    lang = f' lang="{language}"' if language else ""
    return (
        f'<!doctype html><html{lang}><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{_STYLE}{style}</style></head><body><main><h1>{escape(title)}</h1>{body}</main>"
        "</body></html>"
    )
