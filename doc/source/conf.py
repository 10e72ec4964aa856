"""Sphinx configuration."""

from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ext"))

import manual  # noqa: E402

project = "os-brick-rbd-luks"
author = "os-brick-rbd-luks developers"
copyright = author
extensions = ["sphinx.ext.autodoc", "cliff.sphinxext", "openstackdocstheme",
              "oslo_config.sphinxext", "header_cells", "house", "manual",
              "see_others", "suites_table", "test_modules", "tested",
              "troubleshooting"]
man_pages = manual.man_pages(author)
html_theme = "openstackdocs"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
openstackdocs_auto_name = False
autodoc_mock_imports = ["cinder", "libvirt", "lxml", "nova", "novaclient",
                        "rados", "rbd", "taskflow"]
# With -n each reference has to resolve. Names of others resolve by their
# inventories, which take the network to fetch: so they are written as
# literals, but for these.
nitpick_ignore = [
    # Named by ":raises".
    *(("py:exc", name) for name in (
        "rados.Error", "rados.ObjectBusy", "rbd.Error", "DiskNotFound",
        "BackupOperationError", "CinderException", "HTTPClientError",
        "ImageCopyFailure", "ImageTooBig", "ImageUnacceptable",
        "InvalidSnapshot", "InvalidVolume", "KeyManagerError",
        "ManageExistingInvalidReference", "ManageExistingVolumeTypeMismatch",
        "VolumeBackendAPIException", "VolumeDriverException", "VolumeIsBusy",
        "VolumeMigrationFailed", "VolumeRebaseFailed")),
]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
# Or else a default is the object, with all that is in it.
autodoc_preserve_defaults = True
add_module_names = False
exclude_patterns = []
