"""Sphinx configuration."""

project = "os-brick-rbd-luks"
author = "os-brick-rbd-luks developers"
copyright = author
extensions = ["sphinx.ext.autodoc", "cliff.sphinxext", "openstackdocstheme",
              "oslo_config.sphinxext"]
html_theme = "openstackdocs"
openstackdocs_auto_name = False
autodoc_mock_imports = ["libvirt", "rbd", "rados"]
autodoc_typehints = "none"
add_module_names = False
exclude_patterns = []
