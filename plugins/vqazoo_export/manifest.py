"""Manifest of the verb `export`. Imports only the core's torch-free modules."""

from vqazoo.manifests import CommandManifest

EXPORT = CommandManifest(
    summary="Write a model for other runtimes, such as ONNX.", build="vqazoo_export.command:export"
)
