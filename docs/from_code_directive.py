"""The Sphinx directive ``from-code``: the tables of ``reference_tables``, written anew at each build."""

from typing import Any, ClassVar

import reference_tables
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class FromCode(SphinxDirective):
    """``{from-code} urls`` stands for what ``reference_tables.urls()`` returns, parsed as a part of the page."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        text = reference_tables.WRITERS[self.arguments[0]]()
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("from-code", FromCode)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
