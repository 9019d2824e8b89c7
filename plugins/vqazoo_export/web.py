"""The browser page that runs an exported model on the device. Imports only the standard library."""

from __future__ import annotations

from pathlib import Path

from vqazoo.errors import ConfigError

PAGE = ("index.html", "page.js", "model.js", "pixels.js", "tokens.js", "page.css")
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")


def page_files() -> dict[str, bytes]:
    """The page's own files, by name."""
    folder = Path(__file__).parent / "page"
    return {name: (folder / name).read_bytes() for name in PAGE}


def web_runtime(folder: Path | None) -> dict[str, bytes]:
    """The files of onnxruntime-web that the page loads, by name.

    Args:
        folder: `dist` of the unpacked package `onnxruntime-web`, or the package itself.

    Raises:
        ConfigError: no folder was given, or it lacks a file.
    """
    if folder is None:
        raise ConfigError(
            "The page needs the files of onnxruntime-web: run  npm pack onnxruntime-web , unpack "
            "the archive, and name its folder with --onnxruntime-web package/dist."
        )
    inside = folder / "dist" if (folder / "dist").is_dir() else folder
    missing = [name for name in RUNTIME if not (inside / name).is_file()]
    if missing:
        raise ConfigError(
            f"'{inside}' has no file '{missing[0]}': name the folder 'dist' of the unpacked "
            f"package onnxruntime-web with --onnxruntime-web."
        )
    return {name: (inside / name).read_bytes() for name in RUNTIME}
