"""The documentation site: ``tox run -e docs`` builds and checks it. Nothing is fetched from the network."""

import sys
from pathlib import Path

import django
from django.conf import settings

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

settings.configure(
    SECRET_KEY="the-documentation-signs-nothing",
    ROOT_URLCONF="ontraport_connect.urls",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "ontraport_connect"],
    USE_TZ=True,
)
django.setup()

import ontraport_connect  # noqa: E402  # its models need the settings

project = "django-ontraport-connect"
author = "The ontraport_connect authors"
project_copyright = author
release = version = ontraport_connect.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "from_code_directive"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["attrs_block"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
nitpick_ignore_regex = [
    # The types in signatures: of other packages (no inventory is downloaded), and of our own modules below the public names.
    ("py:.*", r"(?!ontraport_connect\.)[\w.]+"),
    ("py:class", r"ontraport_connect\.[\w.]+"),
]

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"footer_icons": []}
