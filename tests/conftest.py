"""Shapes and types are checked at run time in every test."""

from jaxtyping import install_import_hook

_hook = install_import_hook(["functa_core", "functa_images", "functa_nerf"], "typecheck.check")
