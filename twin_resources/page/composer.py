"""Build a question box with its buttons, for the tabs with conversations.

Scope: the widgets. Out of scope: handling a question (`chat_tab.py`, `comparison_tab.py`).
"""

from typing import Any

import gradio as gr


def add_composer(
    label: str, *, placeholder: str, send_label: str, id_prefix: str = "", autofocus: bool = False
) -> tuple[gr.Textbox, gr.Button, gr.Button]:
    """Add a question box, with buttons that send the question and stop its answer.

    Args:
        id_prefix: prefix of the HTML ids, with which `page.js` and `page.css` find the widgets.
    """
    with gr.Row(elem_id=f"{id_prefix}composer", equal_height=True):
        question = gr.Textbox(
            placeholder=placeholder,
            label=label,
            show_label=False,
            container=False,
            lines=1,
            max_lines=8,
            scale=8,
            min_width=120,
            elem_id=f"{id_prefix}question",
            autofocus=autofocus,
        )
        button_options: dict[str, Any] = {"scale": 1, "min_width": 90}
        send_button = gr.Button(
            send_label, variant="primary", elem_id=f"{id_prefix}send", **button_options
        )
        stop_button = gr.Button(
            "Stop", variant="stop", visible=False, elem_id=f"{id_prefix}stop", **button_options
        )
    return question, send_button, stop_button


def toggle_stop_button(is_answering: bool) -> tuple[Any, Any]:
    """Return updates that show the stop button during an answer, and the send button otherwise."""
    return gr.Button(visible=is_answering), gr.Button(visible=not is_answering)
