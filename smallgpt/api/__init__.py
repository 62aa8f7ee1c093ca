"""The Python API of notebooks and scripts: what `import smallgpt` offers, imported at its first use."""
