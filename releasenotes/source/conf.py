"""Sphinx configuration of the release notes."""

project = "os-brick-rbd-luks release notes"
author = "os-brick-rbd-luks developers"
copyright = author
extensions = ["openstackdocstheme", "reno.sphinxext"]
html_theme = "openstackdocs"
openstackdocs_auto_name = False
exclude_patterns = []
