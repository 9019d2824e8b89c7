"""Manifest of the verb `serve`. Imports only the core's torch-free modules."""

from vqazoo.manifests import CommandManifest

SERVE = CommandManifest(summary="Answer questions over HTTP.", build="vqazoo_serve.command:serve")
