"""Sphinx configuration."""

from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ext"))

project = "os-brick-rbd-luks"
author = "os-brick-rbd-luks developers"
copyright = author
extensions = ["sphinx.ext.autodoc", "cliff.sphinxext", "openstackdocstheme",
              "oslo_config.sphinxext", "suites_table"]
html_theme = "openstackdocs"
openstackdocs_auto_name = False
autodoc_mock_imports = ["cinder", "libvirt", "nova", "rados", "rbd",
                        "taskflow"]
# With -n each reference has to resolve. Names of others resolve by their
# inventories, which take the network to fetch: so they are written as
# literals, but for these.
nitpick_ignore = [
    # Ceph's bindings have no inventory. Named by ":raises".
    ("py:exc", "rados.ObjectBusy"),
]
autodoc_typehints = "none"
add_module_names = False
exclude_patterns = []
