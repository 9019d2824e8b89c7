"""Manifest of the verb `demo`. Imports only the core's torch-free modules."""

from vqazoo.manifests import CommandManifest

DEMO = CommandManifest(
    summary="Open a web page that asks models about pictures.", build="vqazoo_demo.command:demo"
)
