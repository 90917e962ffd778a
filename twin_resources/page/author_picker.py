"""Build the page header: the author's name, and a dropdown if there are several authors.

Scope: the author's name and the author dropdown, which all tabs share.
Out of scope: asking an author questions (`chat_tab.py`, `comparison_tab.py`).
"""

from typing import Any

import gradio as gr

from twin_resources.errors import TwinError
from twin_resources.page.author_files import AuthorFiles
from twin_resources.page.escaping import escape_html
from twin_resources.page.gateway_client import GatewayClient, group_aliases_by_author
from twin_resources.page.page_notices import render_error_notice

DEFAULT_HEADING = "LLM Twin"


class AuthorPicker:
    """The page header; create it inside a `gr.Blocks`.

    Attributes:
        author: the dropdown; its value is a slug.
        name: the heading.
    """

    def __init__(self, gateway: GatewayClient, files: AuthorFiles) -> None:
        self._gateway, self.files = gateway, files
        with gr.Row(elem_id="head", equal_height=False):
            self.name = gr.HTML(render_heading(""), padding=False, elem_id="name")
            self.author = gr.Dropdown(
                label="Author",
                show_label=False,
                container=False,
                elem_id="author",
                filterable=False,
                visible=False,
                min_width=200,
                scale=0,
            )

    async def load_aliases(self) -> tuple[dict[str, list[str]], str]:
        """Return the available aliases by author slug, and a notice if they could not be read."""
        try:
            return group_aliases_by_author(await self._gateway.list_model_names()), ""
        except TwinError as error:
            return {}, render_error_notice(error)

    def author_name(self, author: str | None) -> str:
        """Return the author's name, or the slug if the home has no file for the author."""
        return self.files.names().get(author or "", author or "")

    def build_author_dropdown(self, slugs: list[str], selected_slug: str | None) -> Any:
        """Return the dropdown with these authors, hidden if there is only one author."""
        names = self.files.names()
        choices = [(names.get(slug, slug), slug) for slug in slugs]
        return gr.Dropdown(choices=choices, value=selected_slug, visible=len(choices) > 1)


def render_heading(name: str) -> str:
    """Return the name as the page's main heading."""
    subtitle = "a program that quotes their posts" if name else ""
    return f'<h1>{escape_html(name or DEFAULT_HEADING)}</h1><p class="twin-small">{subtitle}</p>'
